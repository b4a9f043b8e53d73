#![no_main]

pgv_fuzz::target!("conninfo");
