mod configuration;
mod families;
mod history;
mod moves;
mod rows;
