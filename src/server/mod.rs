//! What makes this extension a good citizen of its server: settings, processes, and the wake-up between them.

pub mod launcher;
pub mod process;
pub mod settings;
pub mod wake;
