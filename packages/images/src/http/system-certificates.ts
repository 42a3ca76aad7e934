/** The certificates this system trusts. Node brings its own list, but operators add theirs to the system's. */
import { readFile } from 'node:fs/promises';
import { rootCertificates } from 'node:tls';

/** Where distributions keep the bundle, in the order Go programs look. */
const bundles = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** PEM texts: of SSL_CERT_FILE when it is set, else of the system's bundle, else Node's own. */
export async function systemCertificates(
  env: Readonly<Record<string, string | undefined>>,
): Promise<readonly string[]> {
  const named = env['SSL_CERT_FILE'];
  for (const file of named === undefined || named === '' ? bundles : [named]) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text.includes('-----BEGIN CERTIFICATE-----')) return [text];
  }
  return rootCertificates;
}
