#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| failover_core::readers::read("ha_module_conf", bytes));
