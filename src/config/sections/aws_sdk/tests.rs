use std::os::unix::fs::PermissionsExt as _;

use super::{ENDLESS, ENDPOINT_VARIABLES};
use crate::config::tests::{file, problems, sources};
use crate::config::{AwsFiles, Config, Diagnostic};

/// Loads a configuration with variables, and with the text of `~/.aws/config`.
fn load(environment: &[(&str, &str)], aws_config: &str) -> Result<Config, Vec<Diagnostic>> {
    let (main, aws_config) = (file(""), file(aws_config));
    let files = [("HOME", "/no/such"), ("AWS_CONFIG_FILE", aws_config.path().to_str().unwrap())];
    let mut sources = sources(&main, &[&files, environment].concat());
    sources.aws_files = AwsFiles::read(&sources.environment);
    Config::load(&sources)
}

/// Returns the only diagnostic.
fn problem(environment: &[(&str, &str)], aws_config: &str) -> String {
    let diagnostics = load(environment, aws_config).unwrap_err();
    let texts: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    texts[0].clone()
}

#[test]
fn endpoint_variable_that_is_not_a_url_is_refused_by_its_name() {
    for variable in ENDPOINT_VARIABLES {
        for value in [
            "localhost:4566",
            "\"http://localhost:4566\"",
            "http://localhost:4566 ",
            "http://localhost:4566\n",
            "ftp://localhost",
            "http://",
            "http://localhost/?a=b",
        ] {
            let problem = problem(&[(variable, value)], "");
            let start = format!("{variable}: expected a URL with http:// or https://, got ");
            assert!(problem.starts_with(&start) && !problem.contains("localhost"), "{value:?}: {problem}");
        }
        load(&[(variable, "http://localhost:4566/base")], "").unwrap();
    }
}

#[test]
fn sdk_file_that_is_a_pipe_or_device_is_refused_without_being_read() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.to_str().unwrap(), "/dev/zero"] {
        for variable in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
            let problem = problem(&[(variable, path)], "");
            assert_eq!(problem, format!("{path}: {ENDLESS}"), "{variable}");
        }
    }
    load(&[("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/no/such")], "").unwrap();
}

#[test]
fn endpoint_in_a_profile_is_refused_by_file_profile_and_key() {
    let profile = problem(&[("AWS_PROFILE", "ci")], "[profile ci]\nendpoint_url = localhost\n");
    assert!(profile.contains(", profile ci: endpoint_url: expected a URL"), "{profile}");
    for service in ["ecr", "ecr_public", "ecr-public", "signin", "sts"] {
        let text = format!("[default]\nservices = here\n[services here]\n{service} =\n  endpoint_url = localhost\n");
        let problem = problem(&[], &text);
        assert!(problem.contains(&format!(", profile default: {service}.endpoint_url: expected")), "{problem}");
    }
    load(&[("AWS_PROFILE", "ci")], "[profile other]\nendpoint_url = localhost\n").unwrap();
}

#[test]
fn empty_endpoint_in_a_profile_is_refused() {
    let problem = problem(&[], "[default]\nendpoint_url =\n");
    assert!(
        problem.ends_with("endpoint_url: expected a URL with http:// or https://, got another text; correct it"),
        "{problem}"
    );
}

#[test]
fn refused_urls_are_not_shown() {
    let refused = "http://u:secret@h:1 ";
    for variable in ["AWS_ENDPOINT_URL", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "ECR_BROKER_AWS_ECR_ENDPOINT"] {
        let problem = problem(&[(variable, refused)], "");
        assert!(problem.ends_with("got one with white space; remove it"), "{problem}");
        assert!(!problem.contains("secret"), "{problem}");
    }
    let endpoints = [("ECR_BROKER_AWS_ECR_ENDPOINTS", refused)];
    assert!(!problem(&endpoints, "").contains("secret"));
    let in_file = problem(&[], "[default]\nendpoint_url = secret@h\n");
    assert!(!in_file.contains("secret"), "{in_file}");
    for value in ["'u:secret@h'", "['http://u:secret@h']", "{ a = 'http://u:secret@h' }"] {
        let problems = problems(&format!("[aws]\necr_endpoint = {value}"));
        assert!(problems.len() == 1 && !problems[0].contains("secret"), "{problems:?}");
    }
}

#[test]
fn world_writable_web_identity_token_is_refused_without_an_endpoint() {
    let token = file("token");
    let path = token.path().to_str().unwrap();
    let role = [("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"), ("AWS_WEB_IDENTITY_TOKEN_FILE", path)];
    load(&role, "").unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let problem = problem(&role, "");
    assert!(problem.starts_with(&format!("AWS_WEB_IDENTITY_TOKEN_FILE: {path} is world-writable")), "{problem}");
    load(&[&role[..], &[("AWS_ACCESS_KEY_ID", "AKIA")]].concat(), "").unwrap();
}

#[test]
fn ignored_endpoints_are_not_checked() {
    let wrong = ("AWS_ENDPOINT_URL_ECR", "localhost");
    load(&[wrong, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")], "").unwrap();
    load(&[wrong], "[default]\nignore_configured_endpoint_urls = true\n").unwrap();
    load(
        &[wrong, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false")],
        "[default]\nignore_configured_endpoint_urls = true\n",
    )
    .unwrap_err();
}

#[test]
fn region_comes_from_the_first_variable_that_is_set_then_the_profile() {
    let (region, default, profile) = (("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "eu-west-2"), "eu-west-3");
    let text = format!("[default]\nregion = {profile}\n");
    for (environment, expected) in [
        (&[region, default][..], "eu-west-1"),
        (&[default], "eu-west-2"),
        (&[], "eu-west-3"),
        (&[("ECR_BROKER_AWS_REGION", "eu-north-1"), region], "eu-north-1"),
    ] {
        assert_eq!(load(environment, &text).unwrap().aws.region.as_deref(), Some(expected), "{environment:?}");
    }
    assert_eq!(load(&[], "").unwrap().aws.region, None);
}

#[test]
fn malformed_region_is_refused_by_its_variable_or_key() {
    for variable in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        for value in ["eu-west-1\n", " eu-west-1", "\"eu-west-1\"", "europe"] {
            let problem = problem(&[(variable, value)], "");
            assert!(problem.starts_with(&format!("{variable}: ")), "{value:?}: {problem}");
        }
    }
    let problem = problem(&[], "[default]\nregion = \"eu-west-1\"\n");
    assert!(problem.contains(", profile default: region: "), "{problem}");
}

#[test]
fn values_that_the_sdk_would_ignore_or_fail_over_are_refused() {
    for (variable, wrong, right) in [
        ("AWS_USE_FIPS_ENDPOINT", "yes", "TRUE"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "1", "false"),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "on", "true"),
        ("AWS_EC2_METADATA_DISABLED", "1", "true"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "169.254.169.254", "http://169.254.169.254/"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "6", "IPv6"),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "h/?token=secret", "http://169.254.170.23/v1/credentials?role=x"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "http://h/v2?a=secret", "/v2/credentials/id?role=x"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "secret\n", "secret"),
    ] {
        let problem = problem(&[(variable, wrong)], "");
        assert!(problem.starts_with(&format!("{variable}: ")) && !problem.contains("secret"), "{problem}");
        load(&[(variable, right)], "").unwrap();
    }
    let problem = problem(&[], "[default]\nuse_fips_endpoint = yes\n");
    assert!(problem.ends_with("use_fips_endpoint: expected true or false, got \"yes\""), "{problem}");
}

#[test]
fn roles_need_a_region_and_a_web_identity_without_endpoint_does_too() {
    let role = [("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")];
    let endpoint = ("AWS_ENDPOINT_URL_STS", "https://sts");
    assert!(!load(&[], "").unwrap().aws.needs_region);
    assert!(load(&role, "").unwrap().aws.needs_region);
    assert!(!load(&[&role[..], &[endpoint]].concat(), "").unwrap().aws.needs_region, "the call is not signed");
    assert!(load(&[], "[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = a\n").unwrap().aws.needs_region);
}

#[test]
fn missing_region_is_known_when_imds_is_disabled() {
    let role = [("AWS_ROLE_ARN", "arn:aws:iam::1:role/r"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")];
    let disabled = [role[0], role[1], ("AWS_EC2_METADATA_DISABLED", "true")];
    assert!(load(&role, "").unwrap().check_region().is_ok(), "IMDS may know it");
    let diagnostics = load(&disabled, "").unwrap().check_region().unwrap_err();
    assert!(diagnostics[0].to_string().starts_with("aws.region: not set"), "{diagnostics:?}");
    let with_region = [&disabled[..], &[("AWS_REGION", "eu-west-1")]].concat();
    assert!(load(&with_region, "").unwrap().check_region().is_ok());
}

#[test]
fn unusable_proxy_is_refused_by_its_variable() {
    for (variable, value) in [
        ("HTTPS_PROXY", "\"http://proxy:3128\""),
        ("https_proxy", "http://proxy:3128 "),
        ("HTTP_PROXY", "http://pro xy"),
        ("ALL_PROXY", "socks5://proxy:1080"),
        ("NO_PROXY", "\"a.example,b.example\""),
    ] {
        let problem = problem(&[(variable, value)], "");
        assert!(problem.starts_with(&format!("{variable}: ")), "{problem}");
    }
    let proxied = load(&[("HTTPS_PROXY", "proxy:3128")], "").unwrap().aws.proxies;
    assert!(proxied.for_url(&"https://ecr.example/".parse().unwrap()).is_some());
}

/// A call in plaintext lets the network read the broker's requests and replace the tokens.
#[test]
fn plaintext_endpoint_beyond_loopback_needs_its_setting() {
    let allowed = ("ECR_BROKER_AWS_ALLOW_PLAINTEXT_ENDPOINTS", "true");
    for variable in [
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_ECR",
        "AWS_ENDPOINT_URL_ECR_PUBLIC",
        "AWS_ENDPOINT_URL_SIGNIN",
        "AWS_ENDPOINT_URL_STS",
        "ECR_BROKER_AWS_ECR_ENDPOINT",
        "ECR_BROKER_AWS_ECR_PUBLIC_ENDPOINT",
        "ECR_BROKER_AWS_STS_ENDPOINT",
        "ECR_BROKER_AWS_SIGNIN_ENDPOINT",
    ] {
        let endpoint = (variable, "http://u:secret@10.0.0.5");
        let problem = problem(&[endpoint], "");
        assert!(problem.starts_with(variable) && problem.contains("in plaintext over the network"), "{problem}");
        assert!(problem.ends_with("set aws.allow_plaintext_endpoints = true"), "{problem}");
        assert!(!problem.contains("secret"), "{problem}");
        load(&[endpoint, allowed], "").unwrap();
        load(&[(variable, "http://127.0.0.1:4566")], "").unwrap();
        load(&[(variable, "https://10.0.0.5")], "").unwrap();
    }
    let of_region = problem(&[("ECR_BROKER_AWS_ECR_ENDPOINTS", r#"{ "us-east-1" = "http://e" }"#)], "");
    assert!(of_region.contains("aws.ecr_endpoints: us-east-1 sends AWS credentials"), "{of_region}");
    let in_file = problem(&[], "[default]\nservices = s\n[services s]\necr-public =\n  endpoint_url = http://e\n");
    assert!(in_file.contains("ecr-public.endpoint_url: sends AWS credentials"), "{in_file}");
    let imds = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://10.0.0.5");
    assert!(problem(&[imds], "").contains("in plaintext over the network"));
    for accepted in [&[imds, allowed][..], &[(imds.0, "http://[fd00:ec2::254]")], &[(imds.0, "http://localhost:1338")]]
    {
        load(accepted, "").unwrap();
    }
    let ignored = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
    load(&[("AWS_ENDPOINT_URL_ECR", "http://e"), ignored], "").unwrap();
    problem(&[("AWS_ENDPOINT_URL_STS", "http://e"), ignored], "");
}

#[test]
fn region_of_a_caller_must_not_be_the_whole_host() {
    for value in ["https://{region}", "https://ecr.{region}:443/base"] {
        let problem = problem(&[("ECR_BROKER_AWS_ECR_ENDPOINT", value)], "");
        assert!(problem.contains("lets callers choose the host"), "{value}: {problem}");
    }
    load(&[("ECR_BROKER_AWS_ECR_ENDPOINT", "https://{region}.ecr.example")], "").unwrap();
}

/// The SDK refuses FIPS together with an endpoint override, so that one of them would have to be dropped in silence.
#[test]
fn fips_is_not_dropped_under_an_endpoint_override() {
    let (fips, other) = (("AWS_USE_FIPS_ENDPOINT", "true"), "https://vpce-1.api.ecr.us-east-1.vpce.amazonaws.com");
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "ECR_BROKER_AWS_ECR_ENDPOINT"] {
        let problem = problem(&[(variable, other), fips], "");
        assert!(problem.contains("is not a FIPS endpoint, as AWS_USE_FIPS_ENDPOINT asks"), "{problem}");
        load(&[(variable, &other.replace("ecr", "ecr-fips")), fips], "").unwrap();
        load(&[(variable, "http://127.0.0.1:4566"), fips], "").unwrap();
        load(&[(variable, other)], "").unwrap();
    }
    problem(&[("AWS_ENDPOINT_URL_ECR", other)], "[default]\nuse_fips_endpoint = true\n");
    let govcloud = "https://sts.us-gov-west-1.amazonaws.com";
    load(&[("AWS_ENDPOINT_URL_STS", govcloud), fips], "").unwrap();
    let promise = ("ECR_BROKER_AWS_ENDPOINTS_ARE_FIPS", "true");
    load(&[("AWS_ENDPOINT_URL", "https://aws.corp.example"), fips, promise], "").unwrap();
    load(&[("AWS_ENDPOINT_URL_ECR_PUBLIC", other), fips], "").unwrap();
}
