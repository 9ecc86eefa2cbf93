"""A mail server that prints what it takes, one JSON object per line: PORT MODE CERTIFICATE KEY; user ferry, password hunter2."""
import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

port, mode, certificate, key = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]


class Handler:
    async def handle_DATA(self, server, session, envelope):
        seen = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "data": envelope.content.decode(),
            "tls": session.ssl is not None or mode == "tls",
            "login": session.auth_data,
        }
        print(json.dumps(seen), flush=True)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    if (data.login, data.password) == (b"ferry", b"hunter2"):
        return AuthResult(success=True, auth_data="ferry")
    return AuthResult(success=False, handled=False)


async def main():
    context = None
    if mode != "off":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    options = {"hostname": "mail.test"}
    if mode == "starttls":
        options.update(tls_context=context, require_starttls=True)
    if mode != "off":
        options.update(authenticator=authenticate, auth_required=True, auth_require_tls=mode == "starttls")
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Handler(), **options), "127.0.0.1", port, ssl=context if mode == "tls" else None
    )
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main())
