//! Certificates and keys, as the configuration names them and OpenSSL makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use turnd::config::Config;

/// A folder of one test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("turnd-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.0)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn config(text: &str) -> Result<Config, String> {
    Config::from_toml(&format!("no-auth = true\n{text}")).map_err(|errors| errors[0].to_string())
}

fn with(folder: &Folder, cert: &str, key: &str, more: &str) -> Result<Config, String> {
    let (cert, key) = (folder.path(cert), folder.path(key));
    config(&format!("cert = '{cert}'\npkey = '{key}'\n{more}"))
}

#[test]
fn keys_of_every_form() {
    let folder = Folder::new("keys");
    folder.openssl("req -x509 -newkey rsa:2048 -nodes -keyout pkcs8.pem -out rsa.pem -subj /CN=a.example -days 30");
    folder.openssl("rsa -in pkcs8.pem -traditional -out pkcs1.pem");
    folder.openssl("pkey -in pkcs8.pem -aes256 -passout pass:geheim -out encrypted.pem");
    folder.openssl("rsa -in pkcs8.pem -traditional -aes128 -passout pass:geheim -out old.pem");
    folder.openssl("ecparam -name prime256v1 -genkey -noout -out sec1.pem");
    folder.openssl("req -x509 -key sec1.pem -out ec.pem -subj /CN=b.example -days 30 -addext subjectAltName=DNS:B.example,DNS:*.c.example");
    for key in ["pkcs8.pem", "pkcs1.pem"] {
        let config = with(&folder, "rsa.pem", key, "").unwrap();
        assert_eq!(config.tls.certificates[0].names, ["a.example"]);
        assert!(config.transports.tls && !config.transports.dtls);
    }
    let config = with(&folder, "ec.pem", "sec1.pem", "").unwrap();
    let certificate = &config.tls.certificates[0];
    assert!(certificate.is_for("b.example") && certificate.is_for("x.c.example"));
    assert!(!certificate.is_for("c.example") && !certificate.is_for("x.y.c.example"));
    for key in ["encrypted.pem", "old.pem"] {
        assert!(with(&folder, "rsa.pem", key, "pkey-pwd = 'geheim'").is_ok());
        let path = folder.path(key);
        assert_eq!(
            with(&folder, "rsa.pem", key, "").unwrap_err(),
            format!("turnd.toml:3: pkey: {path} is encrypted; give its password as pkey-pwd")
        );
        assert_eq!(
            with(&folder, "rsa.pem", key, "pkey-pwd = 'falsch'").unwrap_err(),
            format!(
                "turnd.toml:3: pkey: {path} cannot be decrypted; \
                 check pkey-pwd, or decrypt it with `openssl pkey`"
            )
        );
    }
    assert_eq!(
        with(&folder, "rsa.pem", "sec1.pem", "").unwrap_err(),
        format!(
            "turnd.toml:3: pkey: {} is not the key of the first certificate in {}; \
             name the key that the certificate was made for, and put the server's certificate before its chain",
            folder.path("sec1.pem"),
            folder.path("rsa.pem")
        )
    );
    let swapped = with(&folder, "sec1.pem", "ec.pem", "").unwrap_err();
    assert!(swapped.starts_with("turnd.toml:2: cert: "), "{swapped}");
}

#[test]
fn keys_are_decrypted_as_openssl_encrypts_them() {
    let folder = Folder::new("encrypted");
    folder.openssl("req -x509 -newkey rsa:2048 -nodes -keyout plain.pem -out rsa.pem -subj /CN=a.example -days 30");
    for cipher in ["aes128", "aes192", "aes256", "des3"] {
        folder.openssl(&format!(
            "rsa -in plain.pem -traditional -{cipher} -passout pass:geheim -out old-{cipher}.pem"
        ));
        folder.openssl(&format!(
            "pkcs8 -topk8 -in plain.pem -v2 {cipher} -passout pass:geheim -out new-{cipher}.pem"
        ));
        for form in ["old", "new"] {
            let key = format!("{form}-{cipher}.pem");
            assert!(
                with(&folder, "rsa.pem", &key, "pkey-pwd = 'geheim'").is_ok(),
                "{key}"
            );
        }
    }
    folder.openssl(
        "pkcs8 -topk8 -in plain.pem -v2prf hmacWithSHA1 -passout pass:geheim -out sha1.pem",
    );
    folder.openssl("pkcs8 -topk8 -in plain.pem -scrypt -passout pass:geheim -out scrypt.pem");
    for key in ["sha1.pem", "scrypt.pem"] {
        assert!(
            with(&folder, "rsa.pem", key, "pkey-pwd = 'geheim'").is_ok(),
            "{key}"
        );
    }
    folder.openssl(
        "pkcs8 -topk8 -in plain.pem -v1 PBE-SHA1-3DES -passout pass:geheim -out pbes1.pem",
    );
    folder.openssl(
        "rsa -in plain.pem -traditional -camellia128 -passout pass:geheim -out camellia.pem",
    );
    for key in ["pbes1.pem", "camellia.pem"] {
        let path = folder.path(key);
        assert_eq!(
            with(&folder, "rsa.pem", key, "pkey-pwd = 'geheim'").unwrap_err(),
            format!(
                "turnd.toml:3: pkey: {path} is encrypted in a way that is not supported; \
                 encrypt it anew: openssl pkey -in {path} -aes256 -out NEW"
            )
        );
    }
    // A wrong password gives a right padding by chance, once in some hundred.
    for key in ["old-aes128.pem", "old-des3.pem"] {
        for n in 0..600 {
            let error = with(&folder, "rsa.pem", key, &format!("pkey-pwd = '{n}'")).unwrap_err();
            assert!(error.contains(" cannot be decrypted; "), "{n}: {error}");
        }
    }
}

#[test]
fn what_stands_around_certificate_and_key_is_passed_over() {
    let folder = Folder::new("around");
    folder.openssl("ecparam -name secp384r1 -genkey -out key.pem");
    folder.openssl(
        "req -x509 -key key.pem -out cert.pem -subj /CN=\u{e4}.example -utf8 -days 30 -text",
    );
    let (key, cert) = (folder.path("key.pem"), folder.path("cert.pem"));
    let read = |path: &str| fs::read_to_string(path).unwrap();
    assert!(read(&key).starts_with("-----BEGIN EC PARAMETERS-----"));
    assert!(read(&cert).starts_with("Certificate:"));
    let config = with(&folder, "cert.pem", "key.pem", "").unwrap();
    assert_eq!(config.tls.certificates[0].names, ["\u{e4}.example"]);
    // All in one file, with the line ends of Windows.
    let all = format!("# \u{e4}\r\n{}{}", read(&key), read(&cert)).replace('\n', "\r\n");
    fs::write(folder.path("all.pem"), all).unwrap();
    assert!(with(&folder, "all.pem", "all.pem", "").is_ok());
    // A certificate of version 1 has no extensions.
    folder.openssl("req -new -key key.pem -subj /CN=a.example -out csr.pem");
    folder.openssl("x509 -req -in csr.pem -signkey key.pem -days 30 -out v1.pem");
    let config = with(&folder, "v1.pem", "key.pem", "").unwrap();
    assert_eq!(config.tls.certificates[0].names, ["a.example"]);
}

#[test]
fn the_end_of_a_certificate() {
    let folder = Folder::new("end");
    folder.openssl(
        "req -x509 -newkey ed25519 -nodes -keyout key.pem -out cert.pem -subj /CN=a -days 20000",
    );
    folder.openssl("x509 -in cert.pem -enddate -noout -dateopt iso_8601 -out end.txt");
    let end = fs::read_to_string(folder.path("end.txt")).unwrap();
    let day = end
        .trim()
        .strip_prefix("notAfter=")
        .and_then(|end| end.split(' ').next());
    let config = with(&folder, "cert.pem", "key.pem", "").unwrap();
    let not_after = config.tls.certificates[0].not_after.unsigned_abs();
    assert_eq!(day, Some(&*turnd_client::probe::date(not_after)));
}

#[test]
fn damaged_files_and_keys_that_tls_cannot_use() {
    let folder = Folder::new("damaged");
    folder.openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=a -days 30",
    );
    folder.openssl("ecparam -name secp521r1 -genkey -noout -out p521.pem");
    folder.openssl("req -x509 -key p521.pem -out p521-cert.pem -subj /CN=a -days 30");
    let read = |name: &str| fs::read_to_string(folder.path(name)).unwrap();
    let cert = read("cert.pem");
    let write = |name: &str, text: &str| fs::write(folder.path(name), text).unwrap();
    write(
        "cut.pem",
        &format!("{cert}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    );
    write("letters.pem", &cert.replacen("MII", "M!I", 1));
    write("half.pem", &read("key.pem").replacen("MII", "AII", 1));
    for (cert, key, expected) in [
        (
            "cut.pem",
            "key.pem",
            "turnd.toml:2: cert: PATH is damaged: its certificate number 2: ",
        ),
        (
            "letters.pem",
            "key.pem",
            "turnd.toml:2: cert: PATH is no certificate: invalid data: ",
        ),
        (
            "cert.pem",
            "half.pem",
            "turnd.toml:3: pkey: PATH is no private key that TLS can use: ",
        ),
        (
            "p521-cert.pem",
            "p521.pem",
            "turnd.toml:3: pkey: PATH is no private key that TLS can use: ",
        ),
        (
            "cert.pem",
            "cert.pem",
            "turnd.toml:3: pkey: PATH holds no private key; write it as PEM: ",
        ),
    ] {
        let error = with(&folder, cert, key, "").unwrap_err();
        let path = folder.path(if expected.contains(": cert: ") {
            cert
        } else {
            key
        });
        let expected = expected.replace("PATH", &path);
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.contains("; "), "no remedy: {error}");
    }
}

#[test]
fn dtls_wants_a_certificate_and_a_program_that_is_built_with_it() {
    let folder = Folder::new("dtls");
    folder.openssl(
        "req -x509 -newkey ed25519 -nodes -keyout key.pem -out cert.pem -subj /CN=a -days 30",
    );
    let served = |more: &str| {
        with(&folder, "cert.pem", "key.pem", more).map(|config| config.transports.dtls)
    };
    assert_eq!(served(""), Ok(false));
    assert_eq!(served("dtls = false"), Ok(false));
    if cfg!(feature = "dtls") {
        assert_eq!(served("dtls = true"), Ok(true));
        assert_eq!(
            config("dtls = true").unwrap_err(),
            "turnd.toml:2: dtls: needs a certificate; give cert and pkey, or leave it out"
        );
    } else {
        let without = "dtls: this program is built without DTLS; install turnd's package or image, \
                       or build it with --features dtls; or leave it out: no browser needs DTLS";
        assert_eq!(
            served("dtls = true"),
            Err(format!("turnd.toml:4: {without}"))
        );
        let error = config("dtls = true").unwrap_err();
        assert_eq!(error, format!("turnd.toml:2: {without}"));
    }
    assert_eq!(
        config("no-dtls = true").unwrap_err(),
        "turnd.toml:2: unknown key \"no-dtls\"; leave it out: DTLS is off unless `dtls = true`"
    );
    // Where only TLS and DTLS are left, one of them must be.
    let error = served("no-udp = true\nno-tcp = true\nno-tls = true").unwrap_err();
    assert!(
        error.contains("no-udp: leaves no way for clients to come"),
        "{error}"
    );
}

#[test]
fn files_that_are_missing_are_named() {
    let folder = Folder::new("missing");
    let error = with(&folder, "nowhere.pem", "nowhere.key", "").unwrap_err();
    let path = folder.path("nowhere.pem");
    assert_eq!(
        error,
        format!(
            "turnd.toml:2: cert: {path} cannot be read: No such file or directory (os error 2); \
             name a PEM file that this user may read"
        )
    );
    fs::write(Path::new(&folder.path("empty.pem")), "").unwrap();
    let error = with(&folder, "empty.pem", "empty.pem", "").unwrap_err();
    assert!(
        error.contains("holds no certificate; write it as PEM"),
        "{error}"
    );
    assert_eq!(
        config("cert = ['a', 'b']\npkey = 'a'").unwrap_err(),
        "turnd.toml:2: cert: 2 of cert, but 1 of pkey; give as many pkey as cert, in the same order"
    );
    assert_eq!(
        config("pkey = 'a'").unwrap_err(),
        "turnd.toml:2: pkey: 1 of pkey, but 0 of cert; give as many cert as pkey, in the same order"
    );
}

#[test]
fn ciphers_and_ways_to_come() {
    let chosen = config("cipher-list = 'ECDHE-RSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256'");
    assert_eq!(
        chosen.unwrap().tls.ciphers,
        ["ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"]
    );
    let error = config("cipher-list = 'DEFAULT'").unwrap_err();
    let expected = "turnd.toml:2: cipher-list: \"DEFAULT\" is not supported; choose from TLS_AES_128_GCM_SHA256:";
    assert!(error.starts_with(expected), "{error}");
    assert_eq!(
        config("no-udp = true\nno-tcp = true").unwrap_err(),
        "turnd.toml:2: no-udp: leaves no way for clients to come; leave it out, or give cert and pkey"
    );
    let plain = config("").unwrap();
    assert!(plain.transports.udp && plain.transports.tcp);
    assert!(
        !plain.transports.tls && !plain.transports.dtls,
        "without a certificate"
    );
}
