#![no_main]

pgv_fuzz::target!("config_text");
