mod configuration;
mod families;
mod moves;
mod rows;
