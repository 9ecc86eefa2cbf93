//! What this program is built from: licences, sources, withdrawn versions, crates that must not come in.
//!
//! Needs what cargo has on disk after a build and nothing else. The database of advisories is a git repository that no
//! registry carries, so that every advisory on a crate of Cargo.lock is in `fixtures/advisories.txt`, up to the day that
//! it names: a crate that is new here, or an advisory that is newer, is looked up with `cargo audit` and added. The
//! registry itself says which versions were withdrawn ("yanked").
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use std::{collections::BTreeMap, env, fs, path::PathBuf, process::Command};

/// Licences that ask for nothing but their notice.
const ACCEPTED: [&str; 9] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unlicense",
];

/// Other licences, for one crate each, and why that is acceptable.
const EXCEPTIONS: [(&str, &str, &str); 4] = [
    ("option-ext", "MPL-2.0", "40 unchanged lines below `directories`; the licence covers those files alone"),
    ("quoted_printable", "0BSD", "asks for nothing"),
    ("tiny-keccak", "CC0-1.0", "public domain; asks for nothing"),
    ("webpki-roots", "CDLA-Permissive-2.0", "data: the public root certificates, freely shareable with its notice"),
];

/// Advisories that apply, and why that is acceptable.
const APPLYING: [(&str, &str, &str); 1] = [(
    "RUSTSEC-2025-0134",
    "rustls-pemfile",
    "unmaintained, no weakness known: a thin layer over rustls-pki-types, which is kept and reads the PEM; the layer's \
     item by item reading is what names a key where a certificate belongs",
)];

/// Crates that must not come in, and why.
const UNWANTED: [(&str, &str); 6] = [
    ("openssl-sys", "the binary is static and has one TLS implementation, rustls"),
    ("native-tls", "the same"),
    ("aws-lc-sys", "a second cryptography library, built with cmake"),
    ("reqwest", "one POST now and then needs no second HTTP stack beside ureq"),
    ("git2", "nothing here speaks git"),
    ("rustls-native-certs", "trust is the built-in roots or the given authority alone"),
];

fn packages() -> Vec<Value> {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--format-version", "1", "--locked"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = metadata.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().clone();
    packages.into_iter().filter(|package| package["name"] != env!("CARGO_PKG_NAME")).collect()
}

fn text<'a>(package: &'a Value, field: &str) -> &'a str {
    package[field].as_str().unwrap_or_default()
}

/// True when the expression can be met with `accepted` alone: one side of every OR (old crates write `/`), both of AND.
fn is_met(expression: &str, accepted: &dyn Fn(&str) -> bool) -> bool {
    let expression = expression.replace('/', " OR ");
    let sides = |operator: &str| -> Vec<String> {
        let (mut parts, mut depth, mut words) = (Vec::new(), 0, Vec::new());
        let spaced = expression.replace('(', " ( ").replace(')', " ) ");
        for word in spaced.split_whitespace() {
            match word {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            if word == operator && depth == 0 {
                parts.push(words.join(" "));
                words.clear();
            } else {
                words.push(word);
            }
        }
        parts.push(words.join(" "));
        parts
    };
    let any = sides("OR");
    if any.len() > 1 {
        return any.iter().any(|side| is_met(side, accepted));
    }
    let all = sides("AND");
    if all.len() > 1 {
        return all.iter().all(|side| is_met(side, accepted));
    }
    match all[0].strip_prefix("( ").and_then(|inner| inner.strip_suffix(" )")) {
        Some(inner) => is_met(inner, accepted),
        None => accepted(&all[0]),
    }
}

#[test]
fn licence_expressions_are_understood() {
    let met = |expression| is_met(expression, &|licence| ["MIT", "ISC"].contains(&licence));
    for good in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "MIT AND ISC", "(GPL-3.0 OR MIT) AND ISC", "((MIT))"] {
        assert!(met(good), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "Apache-2.0 WITH LLVM-exception"] {
        assert!(!met(bad), "{bad}");
    }
}

#[test]
fn every_licence_is_accepted_or_an_explained_exception() {
    let packages = packages();
    assert!(packages.len() > 200, "only {} packages", packages.len());
    let mut wrong = Vec::new();
    for package in &packages {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        let excepted = |wanted: &str| EXCEPTIONS.iter().any(|(of, licence, _)| *of == name && *licence == wanted);
        if !is_met(licence, &|wanted| ACCEPTED.contains(&wanted) || excepted(wanted)) {
            wrong.push(format!("{name} {}: {licence:?}", text(package, "version")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let needless: Vec<_> =
        EXCEPTIONS.iter().filter(|(name, ..)| !packages.iter().any(|package| text(package, "name") == *name)).collect();
    assert!(needless.is_empty(), "no longer needed: {needless:?}");
}

#[test]
fn everything_comes_from_the_registry_and_nothing_unwanted_comes_in() {
    let packages = packages();
    let known = text(packages.first().unwrap(), "source");
    assert!(known.starts_with("registry+"), "{known}");
    let strange: Vec<&str> = packages
        .iter()
        .filter(|package| text(package, "source") != known)
        .map(|package| text(package, "name"))
        .collect();
    assert!(strange.is_empty(), "not from the registry {known}: {strange:?}");
    for (name, why) in UNWANTED {
        assert!(!packages.iter().any(|package| text(package, "name") == name), "{name} came in; it must not: {why}");
    }
}

/// Where the registry's index keeps a crate: `ri/ng/ring`, `3/b/bit`.
fn index_path(name: &str) -> PathBuf {
    let name = name.to_lowercase();
    match name.len() {
        1 | 2 => PathBuf::from(name.len().to_string()).join(&name),
        3 => PathBuf::from("3").join(&name[..1]).join(&name),
        _ => PathBuf::from(&name[..2]).join(&name[2..4]).join(&name),
    }
}

#[test]
fn no_locked_version_was_withdrawn() {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| PathBuf::from(env::var_os("HOME").expect("a home")).join(".cargo"));
    let Ok(indices) = fs::read_dir(home.join("registry/index")) else {
        // A vendored build has no index, and so no word on withdrawn versions.
        eprintln!("no registry index under {}: nothing could be looked up", home.display());
        return;
    };
    let caches: Vec<PathBuf> = indices.flatten().map(|index| index.path().join(".cache")).collect();
    let (mut looked_up, mut withdrawn) = (0, BTreeMap::new());
    for package in packages() {
        let (name, version) = (text(&package, "name").to_string(), text(&package, "version").to_string());
        let entries = caches.iter().filter_map(|cache| fs::read(cache.join(index_path(&name))).ok());
        // Version and description take turns between zero bytes.
        let lines: Vec<Value> = entries
            .flat_map(|entry| entry.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect::<Vec<_>>())
            .filter_map(|line| serde_json::from_slice(&line).ok())
            .collect();
        let Some(line) = lines.iter().find(|line| line["vers"] == version.as_str()) else { continue };
        looked_up += 1;
        if line["yanked"] == true {
            withdrawn.insert(name, version);
        }
    }
    assert!(looked_up > 200, "only {looked_up} crates were found in the index");
    assert!(withdrawn.is_empty(), "withdrawn by their authors: {withdrawn:?}");
}

/// True when one of the requirements, which `;` separates, holds for the version.
fn any_matches(requirements: &str, version: &semver::Version) -> bool {
    let requirements = requirements.split(';').map(str::trim).filter(|text| !text.is_empty());
    requirements.map(|text| semver::VersionReq::parse(text).unwrap()).any(|wanted| wanted.matches(version))
}

#[test]
fn no_advisory_applies_that_is_not_explained() {
    let packages = packages();
    let advisories = include_str!("fixtures/advisories.txt");
    let (mut applying, mut judged) = (Vec::new(), 0);
    for line in advisories.lines().filter(|line| !line.starts_with('#')) {
        let [named, patched, unaffected] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (id, name) = named.split_once(' ').unwrap();
        for package in packages.iter().filter(|package| text(package, "name") == name) {
            judged += 1;
            let version = semver::Version::parse(text(package, "version")).unwrap();
            if !any_matches(patched, &version) && !any_matches(unaffected, &version) {
                applying.push((id, name));
            }
        }
    }
    assert!(judged > 60, "only {judged} advisories on {} crates", packages.len());
    assert_eq!(applying, APPLYING.map(|(id, name, _)| (id, name)), "update the crate, or explain why it may stay");
}
