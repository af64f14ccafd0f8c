//! The descriptor store of a real systemd.

use std::fs;

use serde_json::Value;

use crate::PRIVATE;
use crate::program::{Server, copy_to, run, signal};
use crate::service_manager::Manager;

const UNIT: &str = "broker.service";

/// A restart, a kill and an upgrade keep the credentials while AWS is down. A stop loses them.
#[test]
#[ignore = "needs systemd, which .ci/tools installs, and root"]
fn p15_systemd_keeps_credentials_while_aws_is_down() {
    let manager = Manager::start();
    let aws = Server::start(&["simulate-aws", "--listen", "127.0.0.1:0"], &[]);
    let program = manager.path().join("ecr-broker");
    copy_to(&program);
    let address = format!("unix:{}", manager.runtime_directory().join("broker.sock").display());
    let environment = format!(
        "AWS_REGION=eu-central-1 AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_EC2_METADATA_DISABLED=true \
         AWS_ENDPOINT_URL={}",
        aws.address
    );
    let unit = format!(
        "[Service]\nType=exec\nFileDescriptorStoreMax=2\nRestart=always\nRestartSec=100ms\nEnvironment={environment}\n\
         ExecStart={} serve --listen {address}\n",
        program.display()
    );
    manager.write_unit(UNIT, &unit);
    manager.systemctl(&["start", UNIT]).out();
    let password = || run(&["get", PRIVATE, "-o", "password", "--address", &address], &[]).out();
    let until_kept = || {
        let status = || run(&["status", "-o", "json", "--address", &address], &[]).out();
        while serde_json::from_str::<Value>(&status()).unwrap()["descriptor_store"]["kept"] != 1 {
            std::thread::yield_now();
        }
    };
    let before = password();
    until_kept();
    drop(aws);

    manager.systemctl(&["restart", UNIT]).out();
    assert_eq!(password(), before, "{}", manager.log());
    until_kept();
    signal(manager.main_pid(UNIT), "KILL");
    manager.until_logged_times("\"restored\":1", 2);
    assert_eq!(password(), before, "{}", manager.log());
    let upgraded = manager.path().join("upgraded");
    copy_to(&upgraded);
    fs::rename(&upgraded, &program).unwrap();
    manager.systemctl(&["try-restart", UNIT]).out();
    assert_eq!(password(), before, "{}", manager.log());
    manager.until_logged_times("\"restored\":1", 3);

    manager.systemctl(&["stop", UNIT]).out();
    manager.systemctl(&["start", UNIT]).out();
    let lost = run(&["get", PRIVATE, "--timeout", "2s", "--address", &address], &[]);
    assert_eq!(lost.code, 5, "{lost:?}");
}
