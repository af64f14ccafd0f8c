//! Jenkins, which cannot be had: variables and step of the Jenkinsfile, with a token in a file, as the `OpenID` Connect
//! provider plugin writes one for each binding.

use std::fs;

use super::recipe::{Recipe, file};
use super::report::CLIENTS;
use super::site::{OF_THE_JOB, Site, Times};
use crate::other::succeed;

/// Returns the texts between `before` and the next quote.
fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.split(before).skip(1).map(|rest| rest.split('\'').next().unwrap()).collect()
}

#[test]
#[ignore = "needs crane, docker-registry and htpasswd, which .ci/tools installs"]
fn jenkinsfile_pushes_throughout_with_a_token_in_a_file() {
    let (site, times) = (Site::new(&Recipe::of("jenkins")), Times::of_this_run());
    let jenkinsfile = fs::read_to_string(file("jenkins", "Jenkinsfile")).unwrap();
    let ([token_file], [step]) = (&quoted(&jenkinsfile, "variable: '")[..], &quoted(&jenkinsfile, "sh '")[..]) else {
        panic!("{jenkinsfile}");
    };
    let bound = site.path("home/secret");
    fs::write(&bound, site.issuer.issue(OF_THE_JOB)).unwrap();
    let mut job = site.command("sh", times.seconds);
    job.args(["-xe", "-c", step]).env(token_file, &bound);
    job.envs(jenkinsfile.lines().filter_map(|line| line.trim().strip_suffix('\'')?.split_once(" = '")));
    succeed(&mut job);
    let report = site.report();
    report.assert_complete();
    site.assert_no_denial();
    println!(
        "jenkins: {CLIENTS:?} made {:?} pushes, one token, no denial",
        CLIENTS.map(|client| report.pushes(client))
    );
}
