#![no_main]

pgv_fuzz::target!("base_backup");
