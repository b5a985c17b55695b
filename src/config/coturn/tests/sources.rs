//! Files that coturn's options are found in.

use super::*;

/// coturn's own example, examples/etc/coturn.service.
const COTURNS_UNIT: &str = "\
[Unit]
Description=Coturn STUN/TURN Server
Documentation=man:coturn(1) man:turnadmin(1) man:turnserver(1)
After=network.target
After=network-online.target
Wants=network-online.target

[Service]
User=turnserver
Group=turnserver
Type=notify
RuntimeDirectory=turnserver
ExecStart=/usr/bin/turnserver -c /etc/turnserver.conf
Restart=on-failure
InaccessibleDirectories=/home
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
Alias=turnserver.service
";

/// Debian's.
const DEBIANS_UNIT: &str = "\
[Unit]
Description=coTURN STUN/TURN Server
After=network.target

[Service]
User=turnserver
Group=turnserver
Type=notify
ExecStart=/usr/bin/turnserver -c /etc/turnserver.conf --pidfile=
Restart=on-failure

[Install]
WantedBy=multi-user.target
";

fn names(source: &Source) -> Vec<String> {
    let given = source.given.iter();
    given
        .map(|option| match &option.value {
            Some(value) => format!("{}={value}", option.name),
            None => option.name.clone(),
        })
        .collect()
}

fn found(text: &str) -> Vec<String> {
    names(&read(text).unwrap())
}

#[test]
fn the_user_of_a_unit_is_not_its_command_line() {
    let file = Some(ConfigFile::Here("/etc/turnserver.conf".to_owned()));
    let coturns = read(COTURNS_UNIT).unwrap();
    assert_eq!(names(&coturns), ["-c=/etc/turnserver.conf"]);
    assert_eq!(coturns.file, file);
    assert_eq!(coturns.given[0].place, Place::Line(13));
    let debians = read(DEBIANS_UNIT).unwrap();
    assert_eq!(names(&debians), ["-c=/etc/turnserver.conf", "pidfile="]);
    assert_eq!(debians.file, file);
    let import = translate(&debians.given);
    assert!(
        import
            .entries
            .iter()
            .all(|entry| entry.verdict == Verdict::WithoutEffect)
    );
}

#[test]
fn the_lines_of_a_unit_that_start_coturn() {
    let unit = |lines: &str| found(&format!("[Service]\nUser=turnserver\n{lines}\n"));
    for lines in [
        "ExecStart=-/usr/bin/turnserver -a -r example.org",
        "ExecStart=+!/usr/bin/turnserver -a \\\n  # why\n  -r example.org",
        "ExecStart = @/usr/bin/turnserver coturn -a -r example.org",
        "ExecStart=/bin/true\nExecStart=/usr/bin/turnserver -a -r example.org",
        "ExecStart=/usr/bin/turnserver -f\nExecStart=\nExecStart=/usr/bin/turnserver -a -r example.org",
        "ExecStart=/bin/sh -c \"exec turnserver -a -r example.org\"",
        "ExecStart=/usr/bin/turnserver -a -r ${REALM}\nEnvironment=\"REALM=example.org\" OTHER=x",
        "ExecStart=/usr/bin/docker run --rm --name coturn -p 3478:3478 coturn/coturn -a -r example.org",
        "ExecStartPre=/usr/bin/turnserver -f\nExecStart=/usr/bin/turnserver -a -r example.org",
    ] {
        assert_eq!(
            unit(lines),
            ["lt-cred-mech", "realm=example.org"],
            "{lines}"
        );
    }
    assert_eq!(unit("ExecStart=/usr/bin/node server.js"), [""; 0]);
    assert_eq!(
        found("[Service]\n[Install]\nExecStart=/usr/bin/turnserver -a"),
        [""; 0]
    );
}

#[test]
fn docker_compose() {
    let expected = ["-n", "realm=example.org", "user=x:y z"];
    for service in [
        "    image: coturn/coturn:4.6\n    command: [\"-n\", \"--realm=example.org\", \"--user\", \"x:y z\"]",
        "    image: coturn/coturn\n    command:\n      - -n\n      - --realm=example.org\n      - '--user=x:y z'",
        "    image: coturn/coturn\n    command: -n --realm=example.org --user='x:y z'",
        "    image: instrumentisto/coturn\n    command: >\n      -n\n      --realm=example.org\n      --user='x:y z'",
        "    build: .\n    entrypoint: turnserver\n    command: -n --realm example.org -u 'x:y z'",
        "    build: .\n    command: sh -c \"turnserver -n --realm example.org -u 'x:y z'\"",
        "    image: example.org:5000/mirror/coturn@sha256:0\n    command: -n --realm=$${REALM} --user='x:$${PASSWORD}'\n    environment:\n      REALM: example.org\n      PASSWORD: y z",
        "    image: coturn/coturn\n    environment: [REALM=example.org]\n    command: [-n, --realm=$REALM, '--user=x:y z']",
    ] {
        let file = format!(
            "version: '3'\nservices:\n  web:\n    image: nginx\n    command: [-g, daemon off]\n  coturn:\n{service}\n"
        );
        assert_eq!(found(&file), expected, "{file}");
    }
    let merged = "x-base: &base\n  image: coturn/coturn\n  command: [-n, -a]\nservices:\n  turn:\n    <<: *base\n    restart: always\n";
    assert_eq!(found(merged), ["-n", "lt-cred-mech"]);
}

#[test]
fn the_place_of_an_option_is_its_line() {
    let file = "services:\n  coturn:\n    image: coturn/coturn\n    command:\n      - --lt-cred-mech\n      - --realm=example.org\n";
    let places: Vec<_> = read(file).unwrap().given.iter().map(|o| o.place).collect();
    assert_eq!(places, [Place::Line(5), Place::Line(6)]);
}

#[test]
fn kubernetes() {
    let file = "\
apiVersion: v1
kind: ConfigMap
data:
  turnserver.conf: |
    realm=example.org
    listening-port=3479
---
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      containers:
        - name: proxy
          image: envoy
          args: [-c, /etc/envoy.yaml]
        - name: turn
          image: coturn/coturn:4.17.1
          env:
            - name: DETECT_EXTERNAL_IP
              value: \"yes\"
            - name: SECRET
              value: a-secret
          args:
            - -c
            - /etc/turnserver.conf
            - --use-auth-secret
            - --static-auth-secret=$(SECRET)
";
    let source = read(file).unwrap();
    assert_eq!(
        names(&source),
        [
            "realm=example.org",
            "listening-port=3479",
            "external-ip=auto",
            "-c=/etc/turnserver.conf",
            "use-auth-secret",
            "static-auth-secret=a-secret"
        ]
    );
    assert_eq!((source.file, source.notes), (None, Vec::new()));
    assert_eq!(source.given[0].place, Place::Line(5));
    let import = translate(&source.given);
    assert!(
        import.entries[2]
            .text
            .contains("\"auto\", which asks the cloud"),
        "{import:?}"
    );
}

#[test]
fn a_configuration_in_a_volume() {
    let file = |volume: &str, command: &str| {
        let text = format!(
            "services:\n  c:\n    image: coturn/coturn\n    volumes:\n      - data:/var/lib/coturn\n      - {volume}\n    command: {command}\n"
        );
        read(&text).unwrap()
    };
    let beside = |path: &str| Some(ConfigFile::Beside(path.to_owned()));
    let short = file(
        "./turn/turnserver.conf:/etc/coturn/turnserver.conf:ro",
        "[]",
    );
    assert_eq!(short.file, beside("./turn/turnserver.conf"));
    let long = file(
        "{type: bind, source: /srv/turn.conf, target: /etc/turnserver.conf}",
        "[-c, /etc/turnserver.conf]",
    );
    assert_eq!(
        long.file,
        Some(ConfigFile::Here("/srv/turn.conf".to_owned()))
    );
    let folder = file(
        "./turn:/etc/coturn",
        "[-c, /etc/coturn/my.conf, --cert=/etc/coturn/a.pem]",
    );
    assert_eq!(folder.file, beside("./turn/my.conf"));
    assert!(folder.given[1].remarks[0].starts_with("a path in the container"));
    let lost = file("./x:/x", "[-c, /etc/coturn/my.conf]");
    assert_eq!(lost.file, None);
    assert!(lost.notes[0].starts_with("/etc/coturn/my.conf is a file inside of the container"));
    assert_eq!(
        file("./t/turnserver.conf:/etc/turnserver.conf", "[-n]").file,
        None
    );
    let certificate = file(
        "/etc/letsencrypt:/certs:ro",
        "[-n, --cert=/certs/live/a/fullchain.pem]",
    );
    assert_eq!(
        certificate.given[1].value.as_deref(),
        Some("/etc/letsencrypt/live/a/fullchain.pem")
    );
}

#[test]
fn variables_of_images() {
    let options = |image: &str, variables: &str| {
        found(&format!(
            "services:\n  t:\n    image: {image}\n    environment: {variables}\n"
        ))
    };
    assert_eq!(
        options(
            "zolochevska/turn-server",
            "[USERNAME=alice, PASSWORD=s3cret, REALM=example.org, MIN_PORT=50000, MAX_PORT=50010]"
        ),
        [
            "realm=example.org",
            "min-port=50000",
            "max-port=50010",
            "user=alice:s3cret"
        ]
    );
    assert_eq!(
        options(
            "bprodoehl/turnserver",
            "{EXTERNAL_IP: 192.0.2.1, PORT: 3479, STATIC_AUTH_SECRET: abc}"
        ),
        [
            "listening-port=3479",
            "external-ip=192.0.2.1",
            "static-auth-secret=abc",
            "use-auth-secret=1"
        ]
    );
    assert_eq!(
        options("flaviostutz/coturn", "[TURN_USERNAME=a, TURN_PASSWORD=b]"),
        ["user=a:b"]
    );
    // coturn's own image does not read them.
    let text = "services:\n  t:\n    image: coturn/coturn\n    environment: [REALM=example.org]\n";
    let import = import(text);
    assert_eq!(import.entries[0].verdict, Verdict::NotSupported);
    assert!(
        import.entries[0]
            .text
            .starts_with("from REALM, which the image does not read")
    );
}

#[test]
fn docker_run() {
    for line in [
        "docker run -d --name coturn --network=host coturn/coturn -n -a",
        "sudo docker run -it --rm -p 3478:3478/udp -v $(pwd)/x:/x instrumentisto/coturn -n -a",
        "podman run --name turnserver --restart always docker.io/coturn/coturn:4 turnserver -n -a",
        "#!/bin/sh\ndocker rm -f coturn\ndocker run -d \\\n  --name=coturn \\\n  coturn/coturn \\\n  -n -a >/dev/null 2>&1\n",
    ] {
        assert_eq!(found(line), ["-n", "lt-cred-mech"], "{line}");
    }
    let run = "docker run -e USERNAME=u -e PASSWORD=p --env REALM=r zolochevska/turn-server";
    assert_eq!(found(run), ["user=u:p", "realm=r"]);
    let mounted = read("docker run -v $PWD/my.conf:/etc/turnserver.conf coturn/coturn").unwrap();
    assert_eq!(
        mounted.file,
        Some(ConfigFile::Beside("./my.conf".to_owned()))
    );
    let detected = found("docker run coturn/coturn --external-ip=$(curl -s ifconfig.me) -n");
    assert_eq!(detected, ["external-ip=$(curl -s ifconfig.me)", "-n"]);
}

#[test]
fn scripts_end_their_commands() {
    assert_eq!(
        found("cd /etc && turnserver -n -a && echo done"),
        ["-n", "lt-cred-mech"]
    );
    assert_eq!(
        found("turnserver -n -a > /dev/null &"),
        ["-n", "lt-cred-mech"]
    );
}

#[test]
fn a_file_that_coturn_does_not_read() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let file = |line: &str| command_line(&words(line)).file;
    let named = Some(ConfigFile::Here("/etc/t.conf".to_owned()));
    assert_eq!(file("turnserver -c /etc/t.conf -a"), named);
    assert_eq!(file("turnserver -n -c /etc/t.conf -a"), None);
}

#[test]
fn letters_that_take_a_value() {
    assert_eq!(
        found("turnserver -K keep -A ipv6"),
        [
            "keep-address-family=keep",
            "allocation-default-address-family=ipv6"
        ]
    );
    assert_eq!(
        found("turnserver --keep-address-family -a"),
        ["keep-address-family", "lt-cred-mech"]
    );
}

#[test]
fn turnds_own_configuration_is_recognised() {
    let own = |text: &str| read(text).is_err_and(|problem| problem.what.contains("turnd's own"));
    assert!(own(
        "static-auth-secret = [\"galene-secret\"]\nrealm = \"example.org\"\nuse-auth-secret = true\n"
    ));
    assert!(own("realm = \"a\"\nmax-permissions = 5\n"));
    assert!(
        !own("listening-port=3478\nmin-port=49152\n"),
        "coturn's may be TOML too"
    );
    assert!(!own("realm = \"a\"\ncli-password = \"b\"\n"));
    assert!(!own(""));
}

#[test]
fn yaml_that_is_none() {
    let problem =
        read("services:\n  coturn:\n    image: {{ .Values.image }}\n   x: y\n").unwrap_err();
    assert!(
        problem
            .what
            .starts_with("looks like YAML, but is not: line "),
        "{problem}"
    );
    // Aliases of aliases: a small file stays small, and a deep one is refused.
    let mut bomb = "image: x\na0: &a0 [x]\n".to_owned();
    for n in 1..40 {
        bomb += &format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}]\n", n - 1);
    }
    assert_eq!(found(&bomb), [""; 0]);
    for n in 40..5000 {
        bomb += &format!("a{n}: &a{n} [*a{}]\n", n - 1);
    }
    assert!(read(&bomb).unwrap_err().what.contains("nested too deeply"));
    let deep = format!("image: {}", "[".repeat(100_000));
    assert!(read(&deep).is_err());
}

#[test]
fn several_containers_are_told_of() {
    let file = "services:\n  a:\n    image: coturn/coturn\n    command: [-n, -a]\n  b:\n    image: coturn/coturn\n    command: [-n]\n";
    let source = read(file).unwrap();
    assert_eq!(names(&source), ["-n", "lt-cred-mech"]);
    assert_eq!(
        source.notes,
        ["only the first container with coturn was read: others are at line 6"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_yaml_panics(parts in proptest::collection::vec(proptest::sample::select(vec![
        "services:", "image: coturn/coturn", "command:", "args: ", "environment: ", "volumes:", "- ", "-c ", "[", "]", "{", "}", "&a ",
        "*a", "*b ", "&b", "|", ">", "\"", "'", "\n", "\n  ", "\n    ", ": ", "<<: ", "#", "---\n", "...\n", "!!str ", "%TAG ! x\n", "\t", ",", "? ",
        "turnserver.conf: |", "realm=a", "$$(x)", "é", "\u{feff}", "\0", "\\",
    ]), 0..60)) {
        if let Ok(source) = read(&format!("image: x\n{}", parts.concat())) {
            let _ = translate(&source.given);
        }
    }
}
