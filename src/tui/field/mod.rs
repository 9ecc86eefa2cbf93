//! Form fields: text and secrets with a cursor, a box for pasted certificates, and what a connection string fills in.
//!
//! Each owns its value and its cursor and knows nothing of screens. Everything that may hold a password is wiped when
//! it is dropped.

pub mod endpoint;
pub mod identity_box;
pub mod paste_box;
pub mod rows;
pub mod text;
pub mod uri;

pub use endpoint::EndpointForm;
pub use identity_box::IdentityBox;
pub use paste_box::PasteBox;
pub use text::TextField;
