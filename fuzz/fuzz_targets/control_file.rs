#![no_main]

pgv_fuzz::target!("control_file");
