use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::Config;

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
        assert!(config.transports.tls && config.transports.dtls);
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
