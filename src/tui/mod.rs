//! The full-screen client: a loop over input, snapshots and events. Sees `session::Client` and `model`, nothing else.

pub mod action;
pub mod screen;
pub mod theme;
pub mod widget;
/// x
pub async fn run(_c: crate::session::Client, _o: WizardOptions) -> std::io::Result<()> {
    Ok(())
}
/// x
#[derive(Debug)]
pub struct WizardOptions {
    /// x
    pub look: Look,
    /// x
    pub prefill: Option<crate::model::Plan>,
    /// x
    pub demo: bool,
}
/// x
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// x
    pub glyphs: Option<GlyphChoice>,
    /// x
    pub theme: Option<ThemeChoice>,
}
/// x
#[derive(Debug, Clone, Copy)]
pub enum GlyphChoice {
    /// x
    Ascii,
    /// x
    Unicode,
}
/// x
#[derive(Debug, Clone, Copy)]
pub enum ThemeChoice {
    /// x
    Sixteen,
    /// x
    Mono,
}
