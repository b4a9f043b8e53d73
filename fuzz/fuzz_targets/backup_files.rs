#![no_main]

pgv_fuzz::target!("backup_files");
