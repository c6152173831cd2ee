import { hash, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { checkServerIdentity, type PeerCertificate } from 'node:tls'
import { S2Error } from '#fleet/errors.ts'

/** What a host trusts at one bridge; read at every connection, since credentials change. */
export interface BridgeTrust {
  /** PEM of the one authority to trust for the bridge's certificate; undefined: those that this host trusts. */
  authority(): string | undefined
  /** SHA-256 of the one public key (SPKI) that the bridge's certificate may have, in base64; undefined: any. */
  pin(): string | undefined
}

/** Options of a TLS connection to the bridge. */
export function tlsOptions({ authority, pin }: BridgeTrust) {
  const ca = authority()
  const pinned = pin()
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(pinned === undefined ? {} : { checkServerIdentity: pinnedIdentity(pinned) }),
  }
}

/** The code of the error for a certificate with another key than the pinned one. */
export const PIN_CODE = 'S2_ERR_TLS_PIN'

/** The names are checked as ever, and the key besides. */
function pinnedIdentity(pin: string): (host: string, certificate: PeerCertificate) => Error | undefined {
  return (host, certificate) => {
    const fault = checkServerIdentity(host, certificate)
    if (fault !== undefined || pinOf(certificate.raw) === pin) return fault
    return Object.assign(new Error('the certificate has another key than the credential names'), { code: PIN_CODE })
  }
}

/** The pin of a certificate in DER, or of the first one in PEM: SHA-256 of its public key (SPKI, RFC 7469), in base64. */
export function pinOf(certificate: Uint8Array | string): string {
  const spki = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' })
  return hash('sha256', spki, 'base64')
}

/** Throws `unavailable` for plain http beyond loopback, where everybody between reads along, unless it is allowed. */
export function demandPrivate(origin: URL, allowsPlain: boolean): void {
  const host = origin.hostname.replace(/^\[(.*)\]$/, '$1')
  const isHere = host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
  if (origin.protocol === 'https:' || isHere || allowsPlain) return
  throw new S2Error('unavailable', `${origin.origin} is plain http to another machine, where others can read along`, {
    next: 'give the bridge TLS and have the credential made anew (s2 keys tls); or set S2_ALLOW_PLAIN_HTTP=yes where that network is private',
  })
}
