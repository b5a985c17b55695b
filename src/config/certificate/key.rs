//! Private keys in every form that operators have.

use std::path::Path;

use aes::{Aes128, Aes192, Aes256};
use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use des::TdesEde3;
use md5::{Digest, Md5};
use pem::Pem;
use pkcs8::der::{Decode, SecretDocument};
use pkcs8::{EncryptedPrivateKeyInfoRef, Error, pkcs5};
use rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use super::{CertificateError, Part};
use crate::config::Secret;
use crate::config::source::read;
use crate::problem::Problem;

/// Reads the first key in a PEM file.
pub(super) fn read_key(
    path: &Path,
    password: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let of_file = |problem: Problem| CertificateError {
        part: Part::Key,
        problem: problem.of(path.display()),
    };
    let wrong = |what: &str, remedy: &str| of_file(Problem::new(what, remedy));
    let as_pem = "write it as PEM: -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY";
    let source = read(path, "name a PEM file that this user may read").map_err(of_file)?;
    let sections = pem::parse_many(&source.bytes)
        .map_err(|error| wrong(&format!("is no private key: {error}"), as_pem))?;
    let found = sections
        .into_iter()
        .find_map(|section| Some((Form::of(section.tag())?, section)));
    let Some((form, section)) = found else {
        return Err(wrong("holds no private key", as_pem));
    };
    let traditional = is_encrypted(&section);
    if !traditional && form != Form::Encrypted {
        return Ok(form.key(section.into_contents()));
    }
    let Some(password) = password else {
        return Err(wrong("is encrypted", "give its password as pkey-pwd"));
    };
    let password = password.reveal().as_bytes();
    let plain = if traditional {
        decrypt_traditional(&section, password)
    } else {
        decrypt(section.contents(), password)
    };
    match plain {
        Ok(plain) => Ok(form.key(plain.as_bytes().to_vec())),
        Err(Locked::Password) => Err(wrong(
            "cannot be decrypted",
            "check pkey-pwd, or decrypt it with `openssl pkey`",
        )),
        Err(Locked::Cipher) => Err(wrong(
            "is encrypted in a way that is not supported",
            &format!(
                "encrypt it anew: openssl pkey -in {} -aes256 -out NEW",
                path.display()
            ),
        )),
    }
}

/// Content of a section that holds a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Pkcs1,
    Sec1,
    Pkcs8,
    /// PKCS#8 with a password.
    Encrypted,
}

impl Form {
    fn of(tag: &str) -> Option<Self> {
        Some(match tag {
            "RSA PRIVATE KEY" => Self::Pkcs1,
            "EC PRIVATE KEY" => Self::Sec1,
            "PRIVATE KEY" => Self::Pkcs8,
            "ENCRYPTED PRIVATE KEY" => Self::Encrypted,
            _ => return None,
        })
    }

    /// The key, once it is decrypted.
    fn key(self, der: Vec<u8>) -> PrivateKeyDer<'static> {
        match self {
            Self::Pkcs1 => PrivateKeyDer::Pkcs1(der.into()),
            Self::Sec1 => PrivateKeyDer::Sec1(der.into()),
            Self::Pkcs8 | Self::Encrypted => PrivateKeyDer::Pkcs8(der.into()),
        }
    }
}

/// Reason why a key stays encrypted.
enum Locked {
    Password,
    Cipher,
}

/// Whether a section is encrypted as RFC 1421 §4.6.1.1 has it.
fn is_encrypted(section: &Pem) -> bool {
    let kind = section.headers().get("Proc-Type");
    kind.is_some_and(|kind| kind.contains("ENCRYPTED"))
}

/// Decrypts PKCS#8.
fn decrypt(der: &[u8], password: &[u8]) -> Result<SecretDocument, Locked> {
    let info = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|_| Locked::Cipher)?;
    info.decrypt(password).map_err(|error| match error {
        // Padding is right by chance once in 256 wrong passwords; what comes out then is no ASN.1.
        Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed) | Error::Asn1(_) => {
            Locked::Password
        }
        _ => Locked::Cipher,
    })
}

/// Decrypts the form that OpenSSL wrote before 1.0, and still writes with `-traditional`.
fn decrypt_traditional(section: &Pem, password: &[u8]) -> Result<SecretDocument, Locked> {
    let info = section.headers().get("DEK-Info").unwrap_or_default();
    let (cipher, iv) = info.split_once(',').ok_or(Locked::Cipher)?;
    let iv = bytes(iv.trim()).ok_or(Locked::Cipher)?;
    let text = section.contents().to_vec();
    let plain = match cipher.trim() {
        "AES-128-CBC" => decrypt_cbc::<Decryptor<Aes128>>(16, password, &iv, text),
        "AES-192-CBC" => decrypt_cbc::<Decryptor<Aes192>>(24, password, &iv, text),
        "AES-256-CBC" => decrypt_cbc::<Decryptor<Aes256>>(32, password, &iv, text),
        "DES-EDE3-CBC" => decrypt_cbc::<Decryptor<TdesEde3>>(24, password, &iv, text),
        _ => return Err(Locked::Cipher),
    };
    // Padding may be right by chance here too.
    let document = plain.and_then(|plain| SecretDocument::try_from(plain).ok());
    document.ok_or(Locked::Password)
}

/// Decrypts in CBC mode; `None`: the password is another one.
fn decrypt_cbc<C: KeyIvInit + BlockModeDecrypt>(
    key_len: usize,
    password: &[u8],
    iv: &[u8],
    mut text: Vec<u8>,
) -> Option<Vec<u8>> {
    let salt = iv.get(..8)?;
    // OpenSSL's EVP_BytesToKey with MD5 and one round.
    let mut key = Zeroizing::new(Vec::with_capacity(48));
    let mut last = Zeroizing::new(Vec::new());
    while key.len() < key_len {
        let mut hash = Md5::new();
        hash.update(&*last);
        hash.update(password);
        hash.update(salt);
        last = Zeroizing::new(hash.finalize().to_vec());
        key.extend_from_slice(&last);
    }
    let cipher = C::new_from_slices(&key[..key_len], iv).ok()?;
    let len = cipher.decrypt_padded::<Pkcs7>(&mut text).ok()?.len();
    text.truncate(len);
    Some(text)
}

/// The bytes that hexadecimal digits stand for.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
