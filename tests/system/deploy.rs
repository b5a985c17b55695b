//! Files of deploy/ and docs/, tried with the tools that read them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use stun::message::Method;

use crate::support::messages::{Login, request};
use crate::support::{
    Authority, Key, Namespace, PASSWORD, Running, Scratch, StreamClient, StunClient, Turnd, USER,
    error_code, run,
};

const LIMIT: Duration = Duration::from_secs(60);
const TURND: &str = env!("CARGO_BIN_EXE_turnd");
const ALLOCATE: Method = stun::message::METHOD_ALLOCATE;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a program of the system on files of the repository.
fn tool(words: &[&str]) -> String {
    let mut command = Command::new(words[0]);
    run(command.args(&words[1..]).current_dir(repository()), LIMIT)
}

/// The documents of a YAML file.
fn yaml(path: &str) -> Vec<Value> {
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    serde_json::from_str(&tool(&["python3", "-c", script, path])).unwrap()
}

#[test]
fn the_unit_file_is_valid_and_tight() {
    let scratch = Scratch::new();
    let unit = scratch.path().join("turnd.service");
    fs::write(
        &unit,
        text("deploy/systemd/turnd.service").replace("/usr/bin/turnd", TURND),
    )
    .unwrap();
    let unit = unit.to_str().unwrap();
    tool(&["systemd-analyze", "verify", "--man=no", unit]);
    // 20: an exposure level of 2.0 out of 10.
    tool(&[
        "systemd-analyze",
        "security",
        "--offline=true",
        "--threshold=20",
        "--no-pager",
        unit,
    ]);
}

#[test]
fn the_unit_restarts_what_fails_and_bounds_what_it_takes() {
    let unit = text("deploy/systemd/turnd.service");
    let (head, service) = unit.split_once("[Service]").unwrap();
    assert!(head.lines().any(|line| line == "StartLimitIntervalSec=0"));
    for line in [
        "Restart=on-failure",
        "RestartPreventExitStatus=2",
        "LimitCORE=0",
        "MemorySwapMax=0",
        "MemoryMax=75%",
    ] {
        assert!(service.lines().any(|l| l == line), "no {line}");
    }
}

#[test]
fn base_images_are_pinned() {
    let dockerfile = text("deploy/docker/Dockerfile");
    let images = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("FROM "));
    let images: Vec<_> = images
        .filter(|image| !image.starts_with("scratch"))
        .collect();
    assert!(!images.is_empty());
    for image in images {
        let tag = image.split(' ').next().unwrap().rsplit(':').next().unwrap();
        let version = tag.split('-').next().unwrap();
        let exact = version
            .split('.')
            .filter(|part| part.parse::<u32>().is_ok())
            .count()
            == 3;
        assert!(exact || image.contains("@sha256:"), "{image}");
    }
}

#[test]
fn advisories_are_asked_every_day() {
    let workflow = yaml(".github/workflows/audit.yml").remove(0);
    // YAML 1.1, which Python reads, takes `on` for true.
    let schedule = &workflow["true"]["schedule"][0]["cron"];
    let cron = schedule.as_str().unwrap();
    assert!(
        cron.split(' ').count() == 5 && cron.ends_with("* * *"),
        "{cron}"
    );
    let steps = workflow["jobs"]["advisories"]["steps"].as_array().unwrap();
    let asks = |step: &Value| {
        let run = step["run"].as_str();
        run.is_some_and(|run| run.starts_with("cargo deny") && run.ends_with("check advisories"))
    };
    assert!(steps.iter().any(asks), "{steps:?}");
}

#[test]
fn the_user_and_the_folder_of_the_package_are_made() {
    let scratch = Scratch::new();
    let root = format!("--root={}", scratch.path().display());
    let file = |name: &str| {
        repository()
            .join("deploy/systemd")
            .join(name)
            .display()
            .to_string()
    };
    fs::create_dir_all(scratch.path().join("etc")).unwrap();
    tool(&["systemd-sysusers", &root, &file("sysusers.conf")]);
    let users = fs::read_to_string(scratch.path().join("etc/passwd")).unwrap();
    assert!(users.starts_with("turnd:"), "{users}");
    tool(&[
        "systemd-tmpfiles",
        "--create",
        &root,
        &file("turnd.tmpfiles"),
    ]);
    assert!(scratch.path().join("etc/turnd").is_dir());
}

#[test]
fn alerts_pass_their_unit_tests() {
    tool(&[
        "promtool",
        "check",
        "rules",
        "deploy/prometheus/turnd.rules.yml",
    ]);
    tool(&[
        "promtool",
        "test",
        "rules",
        "deploy/prometheus/turnd.rules.test.yml",
    ]);
}

/// `GET` over a unix socket, when it is there; the body.
fn fetch(socket: &Path, path: &str) -> String {
    let deadline = Instant::now() + LIMIT;
    let mut stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: turnd\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    body.to_owned()
}

/// The names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = |word: &&str| {
        ["turn_", "turnd_", "stun_", "process_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
    };
    words.filter(ours).collect()
}

#[test]
fn alerts_and_dashboard_use_metrics_that_there_are() {
    let scratch = Scratch::new();
    let socket = scratch.path().join("admin");
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let certificate = authority.toml(&["server"]);
    let _turnd = Turnd::start(&format!(
        "admin-listen = '{}'\n{certificate}",
        socket.display()
    ));
    let live = fetch(&socket, "/metrics");
    let live: BTreeSet<_> = live
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    for file in [
        "deploy/prometheus/turnd.rules.yml",
        "deploy/grafana/turnd.json",
    ] {
        let file = text(file);
        let used = metrics(&file);
        assert!(used.len() >= 10, "{used:?}");
        let missing: Vec<_> = used.difference(&live).collect();
        assert!(missing.is_empty(), "no such metrics: {missing:?}");
    }
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/turnd.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let refusals = panels.iter().find(|panel| panel["title"] == "Refusals");
    let shown = refusals.unwrap()["targets"][0]["expr"].as_str().unwrap();
    assert!(
        shown.contains("code!~\"0|401|438\""),
        "challenges are no errors: {shown}"
    );
}

/// A query of the dashboard that no version of Prometheus understands is an empty panel.
#[test]
fn the_queries_of_the_dashboard_are_valid() {
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/turnd.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    for title in [
        "Version",
        "Uptime",
        "Configuration",
        "Certificates end in",
        "CPU",
        "Memory",
        "Open files",
    ] {
        assert!(
            panels.iter().any(|panel| panel["title"] == title),
            "no panel {title}"
        );
    }
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| &target["expr"]);
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    let queries = queries.chain(annotations.iter().map(|annotation| &annotation["expr"]));
    let rules: Vec<Value> = queries
        .enumerate()
        .map(|(number, query)| {
            let query = query.as_str().unwrap().replace("$__rate_interval", "5m");
            serde_json::json!({ "record": format!("query:{number}"), "expr": query })
        })
        .collect();
    assert!(rules.len() > panels.len());
    let scratch = Scratch::new();
    let file = scratch.path().join("rules.yml");
    // JSON is YAML.
    let rules = serde_json::json!({ "groups": [{ "name": "queries", "rules": rules }] });
    fs::write(&file, rules.to_string()).unwrap();
    tool(&["promtool", "check", "rules", file.to_str().unwrap()]);
}

/// Passes `turnd check`, where the secret, the certificate and the user that it names exist.
fn passes_check(toml: &str) {
    let scratch = Scratch::new();
    let authority = Authority::new();
    authority.issue("server", "turn.example.org", Key::Rsa, 2);
    let certificates = authority.toml(&["server"]);
    let secret = scratch.path().join("secret");
    // Good as a secret and as a user.
    fs::write(&secret, "north:south\n").unwrap();
    let named = |line: &str| match line.split_once(" = ") {
        Some((key, _)) if key.ends_with("-file") => format!("{key} = '{}'\n", secret.display()),
        Some(("cert", _)) => certificates.lines().next().unwrap_or_default().to_owned() + "\n",
        Some(("pkey", _)) => certificates.lines().nth(1).unwrap_or_default().to_owned() + "\n",
        // The package makes the user.
        Some(("proc-user", _)) => "proc-user = 'nobody'\n".to_owned(),
        _ => format!("{line}\n"),
    };
    let toml: String = toml.lines().map(named).collect();
    let file = scratch.path().join("turnd.toml");
    fs::write(&file, &toml).unwrap();
    let mut check = Command::new(TURND);
    // Addresses and folders are those of another machine.
    check.args(["check", "--file-only", "-c"]).arg(&file);
    check
        .env("HOST_IP", "192.0.2.1")
        .env("TURN_SECRET", "north")
        .env("TURN_PASSWORD", "south");
    run(&mut check, LIMIT);
}

#[test]
fn the_kubernetes_manifests_fit_the_server() {
    let documents = yaml("deploy/kubernetes/turnd.yaml");
    let of_kind = |kind: &str| documents.iter().find(|d| d["kind"] == kind).unwrap();
    passes_check(of_kind("ConfigMap")["data"]["turnd.toml"].as_str().unwrap());
    let level = &of_kind("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
    assert_eq!(level, "privileged", "hostNetwork is refused below it");
    let pod = &of_kind("DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let container = &pod["containers"][0];
    for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], 9641);
    }
    let stop = &container["lifecycle"]["preStop"]["exec"]["command"];
    assert_eq!(stop, &serde_json::json!(["/usr/bin/turnd", "ctl", "drain"]));
    let grace = pod["terminationGracePeriodSeconds"].as_u64();
    assert!(grace > drain_timeout(of_kind("ConfigMap")["data"]["turnd.toml"].as_str().unwrap()));
    // Every mount names a volume of the pod.
    for mount in container["volumeMounts"].as_array().unwrap() {
        let volumes = pod["volumes"].as_array().unwrap();
        assert!(
            volumes.iter().any(|volume| volume["name"] == mount["name"]),
            "{mount}"
        );
    }
}

/// A cluster that applies the file as it is gets no server that anyone can make credentials for.
#[test]
fn the_kubernetes_manifests_do_not_serve_with_their_placeholder() {
    let documents = yaml("deploy/kubernetes/turnd.yaml");
    let of_kind = |kind: &str| documents.iter().find(|d| d["kind"] == kind).unwrap();
    let scratch = Scratch::new();
    let secret = scratch.path().join("turn-secret");
    let placeholder = of_kind("Secret")["stringData"]["turn-secret"]
        .as_str()
        .unwrap();
    fs::write(&secret, placeholder).unwrap();
    let toml = of_kind("ConfigMap")["data"]["turnd.toml"].as_str().unwrap();
    let toml = toml.replace("/run/secrets/turnd/turn-secret", secret.to_str().unwrap());
    let file = scratch.path().join("turnd.toml");
    fs::write(&file, toml).unwrap();
    for command in ["check", "serve"] {
        let mut turnd = Command::new(TURND);
        turnd
            .arg(command)
            .arg("-c")
            .arg(&file)
            .env("HOST_IP", "127.0.0.1");
        let mut running = Running::start(&mut turnd);
        let code = running.wait(LIMIT).and_then(|status| status.code());
        let told = running.stderr();
        assert_eq!(code, Some(2), "{told}");
        assert!(
            told.contains("static-auth-secret-file: is the placeholder that turnd is shipped with; make one with `openssl rand -hex 32`"),
            "{told}"
        );
    }
}

fn drain_timeout(toml: &str) -> Option<u64> {
    let table: toml::Table = toml.parse().unwrap();
    table["drain-timeout"].as_integer()?.try_into().ok()
}

#[test]
fn the_compose_file_fits_the_server() {
    let service = yaml("deploy/docker/compose.yaml").remove(0)["services"]["turnd"].take();
    assert_eq!(service["network_mode"], "host");
    let dockerfile = service["build"]["dockerfile"].as_str().unwrap();
    assert!(text(dockerfile).contains("USER 65532:65532"));
    passes_check(&text("deploy/docker/turnd.toml"));
    assert!(drain_timeout(&text("deploy/docker/turnd.toml")) < Some(3600));
}

/// The image cannot be built without a registry, but what it holds can be laid out and run, as its user.
#[test]
fn the_files_of_the_image_run_by_themselves() {
    let scratch = Scratch::new();
    let root = scratch.path().join("rootfs");
    let root = root.to_str().unwrap();
    tool(&["deploy/docker/rootfs", TURND, root]);
    let namespace = Namespace::new("image");
    let mut serve = namespace.command("chroot");
    serve.args(["--userspec=65532:65532", root, "/usr/bin/turnd", "serve"]);
    serve.args(["--user", "alice:secret", "--listening-ip", "127.0.0.1"]);
    let mut running = Running::start(&mut serve);
    let deadline = Instant::now() + LIMIT;
    while !running
        .stderr()
        .contains("listening address=127.0.0.1:3478")
    {
        assert!(
            running.ended().is_none() && Instant::now() < deadline,
            "{}",
            running.stderr()
        );
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn manual_pages_and_completions_are_made_for_every_command() {
    let scratch = Scratch::new();
    let folder = scratch.path().join("man");
    run(Command::new(TURND).arg("man").arg(&folder), LIMIT);
    let page = fs::read_to_string(folder.join("man1/turnd.1")).unwrap();
    for command in ["serve", "check", "credentials", "key", "import"] {
        assert!(page.contains(&format!("turnd\\-{command}(1)")), "{page}");
    }
    for file in fs::read_dir(folder.join("man1")).unwrap() {
        let shown = shown_page(&file.unwrap().path());
        for heading in ["\nEXAMPLES\n", "\nSEE ALSO\n"] {
            assert!(shown.contains(heading), "{shown}");
        }
    }
    let shown = shown_page(&folder.join("man1/turnd-serve.1"));
    for heading in ["\nFILES\n", "\nSIGNALS\n", "\nENVIRONMENT\n"] {
        assert!(shown.contains(heading), "{shown}");
    }
    let shown = shown_page(&folder.join("man5/turnd.toml.5"));
    assert!(shown.contains("listening-port = PORT"), "{shown}");
    let script = run(Command::new(TURND).args(["completions", "bash"]), LIMIT);
    let file = scratch.path().join("turnd.bash");
    fs::write(&file, script).unwrap();
    let line = format!(
        "source {}; COMP_WORDS=(turnd imp); COMP_CWORD=1; _turnd turnd imp turnd; echo \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    assert_eq!(tool(&["bash", "-c", &line]), "import\n");
    let line = format!(
        "source {}; COMP_WORDS=(turnd serve --log-format ''); COMP_CWORD=3; _turnd turnd '' --log-format; echo \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    assert_eq!(tool(&["bash", "-c", &line]), "text json\n");
}

/// A manual page as people see it; none may have anything that the formatter warns of.
fn shown_page(page: &Path) -> String {
    let mut man = Command::new("man");
    man.args(["--warnings=w", "--local-file"]).arg(page);
    let output = man.env("MANWIDTH", "100").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.is_empty(),
        "{page:?}: {told}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The address that forged requests of [`provoke`] have.
const VICTIM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// The addresses that the filter is to find after [`provoke`].
const CULPRITS: [&str; 4] = ["127.0.0.1", "::1", "127.0.0.1", "::1"];

/// Wrong credentials over IPv4 and IPv6, and requests that only look like them in the log.
fn provoke(turnd: &Turnd) {
    let fails = |client: &StunClient, code: u16| {
        let reply = client.ask(&client.signed(ALLOCATE, vec![])).unwrap();
        assert_eq!(error_code(&reply), Some(code), "{reply}");
    };
    for address in [turnd.address(), turnd.address_v6()] {
        let mut client = StunClient::new(address);
        client.log_in(USER, "wrong");
        fails(&client, 401);
    }
    let forged = "x\" method=allocate code=401 reason=\"wrong-password\"\n2026-01-01T00:00:00.000000Z  INFO request refused \
                  client=192.0.2.66:1 server=127.0.0.1:1 transport=\"udp\" user=\"x\" method=allocate code=401 reason=\"wrong-password\"";
    let mut client = StunClient::new(turnd.address());
    client.log_in(forged, PASSWORD);
    fails(&client, 401);
    // Right credentials and no REQUESTED-TRANSPORT: refused, and nobody's fault in the jail's eyes.
    let mut client = StunClient::new(turnd.address());
    client.log_in(USER, PASSWORD);
    fails(&client, 400);
    // A victim's address, as anybody can write it into a datagram: without a nonce, and with one that
    // another address was given.
    let others = Login::answer(
        &client.ask(&request(ALLOCATE, vec![])).unwrap(),
        USER,
        "wrong",
    );
    let invented = Login {
        nonce: "no-such-nonce".into(),
        ..others.clone()
    };
    let victim = StunClient::from(VICTIM, turnd.address());
    for login in [&invented, &others] {
        let reply = victim.ask(&login.sign(ALLOCATE, vec![])).unwrap();
        assert_eq!(error_code(&reply), Some(401), "{reply}");
    }
    // The address of a TCP connection cannot be forged.
    let mut stream = StreamClient::new(turnd.address_v6());
    let reply = stream.ask(&invented.sign(ALLOCATE, vec![]));
    assert_eq!(error_code(&reply), Some(401), "{reply}");
}

/// The addresses that the filter finds in turnd's log, in the order of the lines, each of which `change` may change.
fn found(format: &str, change: impl Fn(&str) -> String) -> Vec<String> {
    let scratch = Scratch::new();
    let log = scratch.path().join("turnd.log");
    let turnd = Turnd::start(&format!(
        "log-file = '{}'\nlog-format = '{format}'",
        log.display()
    ));
    provoke(&turnd);
    let filter = repository().join("deploy/fail2ban/filter.d/turnd.conf");
    let (log, filter) = (log.to_str().unwrap(), filter.to_str().unwrap());
    let deadline = Instant::now() + LIMIT;
    let lines = loop {
        let lines = fs::read_to_string(log).unwrap();
        let refused = |line: &&str| line.contains("request refused");
        if lines.lines().filter(refused).count() == 7 {
            break lines;
        }
        assert!(Instant::now() < deadline, "{lines}");
        thread::sleep(Duration::from_millis(20));
    };
    let unproven = lines
        .lines()
        .filter(|line| line.contains("unproven") && line.contains(&VICTIM.to_string()));
    assert_eq!(unproven.count(), 2, "{lines}");
    let changed: String = lines.lines().map(change).collect();
    fs::write(log, changed).unwrap();
    let found = tool(&["fail2ban-regex", "-o", "ip", log, filter]);
    found.lines().map(str::to_owned).collect()
}

#[test]
fn fail2ban_finds_wrong_credentials_in_text() {
    assert_eq!(found("text", |line| format!("{line}\n")), CULPRITS);
}

#[test]
fn fail2ban_finds_wrong_credentials_in_json() {
    assert_eq!(found("json", |line| format!("{line}\n")), CULPRITS);
}

/// A line as a syslog daemon writes it to a file, and as fail2ban has it from the journal: host and program in front.
fn by_a_daemon(line: &str) -> String {
    let time = "2026-11-24T14:03:11.204518+00:00";
    let said = match line.split_once("Z ") {
        Some((_, said)) if !line.starts_with('{') => said.trim_start(),
        _ => line,
    };
    format!("{time} relay-1 turnd[4711]: {said}\n")
}

#[test]
fn fail2ban_finds_wrong_credentials_behind_the_names_of_host_and_program() {
    for format in ["text", "json"] {
        assert_eq!(found(format, by_a_daemon), CULPRITS, "{format}");
    }
}

/// The Markdown files of the repository's root and of docs/.
fn documents() -> Vec<PathBuf> {
    let folders = [repository().to_owned(), repository().join("docs")];
    let files = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = files.map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect()
}

#[test]
fn links_in_documents_lead_somewhere() {
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = link.split('#').next().unwrap();
            if !link.starts_with("https://") && !file.is_empty() {
                assert!(
                    path.parent().unwrap().join(file).exists(),
                    "{}: {link}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn scrape_jobs_in_documents_are_valid() {
    let scratch = Scratch::new();
    let file = scratch.path().join("prometheus.yml");
    let mut jobs = 0;
    for document in documents() {
        let document = fs::read_to_string(document).unwrap();
        for block in document.split("```yaml\n").skip(1) {
            let (yaml, _) = block.split_once("```").unwrap();
            if yaml.contains("scrape_configs:") {
                // Debian's Prometheus is built without Kubernetes.
                let there = "kubernetes_sd_configs: [{ role: node }]";
                let yaml = yaml.replace(there, "static_configs: [{ targets: [a] }]");
                fs::write(&file, yaml).unwrap();
                let words = ["promtool", "check", "config", "--syntax-only"];
                tool(&[&words[..], &[file.to_str().unwrap()]].concat());
                jobs += 1;
            }
        }
    }
    assert!(jobs >= 2, "{jobs}");
}

#[test]
fn configurations_in_documents_are_valid() {
    let mut count = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for block in text
            .split("```toml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
        {
            let who = ["static-auth-secret", "user", "no-auth"];
            let known = who
                .iter()
                .any(|key| block.lines().any(|line| line.starts_with(key)));
            let rest = if known {
                ""
            } else {
                "static-auth-secret = 'north'\n"
            };
            passes_check(&format!("{block}{rest}"));
            count += 1;
        }
    }
    assert!(count >= 5, "{count}");
}

/// Prosody makes credentials of the secret, allocates, and finds the relay.
#[test]
fn prosody_finds_the_server_good() {
    let turnd = Turnd::start("static-auth-secret = 'north'");
    let scratch = Scratch::new();
    let folder = scratch.path().display();
    let port = turnd.address().port();
    let config = scratch.path().join("prosody.cfg.lua");
    let lua = format!(
        "data_path = '{folder}'\ncertificates = '{folder}'\nmodules_enabled = {{ 'turn_external' }}\n\
         turn_external_host = '127.0.0.1'\nturn_external_port = {port}\nturn_external_secret = 'north'\n\
         VirtualHost 'localhost'\n"
    );
    let check = [
        "prosodyctl",
        "--root",
        "--config",
        config.to_str().unwrap(),
        "check",
        "turn",
        "-v",
    ];
    fs::write(&config, &lua).unwrap();
    let told = tool(&check);
    assert!(
        told.contains("Relayed address 1: 127.0.0.1:") && told.contains("Success!"),
        "{told}"
    );
    fs::write(&config, lua.replace("north", "south")).unwrap();
    let mut check = Command::new(check[0]);
    check.args([
        "--root",
        "--config",
        config.to_str().unwrap(),
        "check",
        "turn",
    ]);
    assert!(!check.output().unwrap().status.success());
}
