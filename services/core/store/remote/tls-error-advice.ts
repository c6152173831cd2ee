import { namesIn } from '#fleet/certificate-parser.ts'
import { S2Error } from '#fleet/errors.ts'
import { PIN_CODE } from './bridge-trust.ts'

/** Why the certificate of a bridge was not accepted. */
export interface CertificateFault {
  readonly kind: 'unknown authority' | 'other key' | 'expired' | 'not yet valid' | 'wrong name' | 'unfit'
  /** As the end of a sentence about the bridge. */
  readonly what: string
  /** What to do, and where. */
  readonly next: string
}

/**
 * What the error of a TLS connection says of the other side's certificate; null where it says nothing of it. Errors of the
 * remote store are read too. `carried`: whether the authority to trust came with the credential.
 */
export function adviceOnCertificate(error: unknown, { carried = false } = {}): CertificateFault | null {
  const cause = error instanceof S2Error ? error.cause : error
  if (!(cause instanceof Error)) return null
  const { code = '', message } = cause as NodeJS.ErrnoException
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return wrongName(cause)
  if (code === PIN_CODE) return OTHER_KEY
  if (code === 'CERT_HAS_EXPIRED') {
    return {
      kind: 'expired',
      what: 'its certificate has expired',
      next: 'renew it on the bridge’s host by s2 keys tls, or by the means it came from; nothing is wrong with this host',
    }
  }
  if (code === 'CERT_NOT_YET_VALID') {
    return {
      kind: 'not yet valid',
      what: 'its certificate is not valid yet, by the clock of this host',
      next: 'compare the clocks of this host and of the bridge’s (date --utc), and set the one that is wrong',
    }
  }
  if (UNKNOWN.test(code)) return carried ? UNKNOWN_CARRIED : UNKNOWN_HERE
  if (!UNFIT.test(code)) return null
  const next = 'look at it on the bridge’s host by s2 certificate show, and have another one made'
  return { kind: 'unfit', what: `its certificate cannot be used: ${message} (${code})`, next }
}

/** Names of OpenSSL's X509_V_ERR_…, as Node gives them. */
const UNKNOWN =
  /^(UNABLE_TO_(GET_ISSUER_CERT(_LOCALLY)?|VERIFY_LEAF_SIGNATURE)|(DEPTH_ZERO_)?SELF_SIGNED_CERT(_IN_CHAIN)?|CERT_SIGNATURE_FAILURE|CERT_UNTRUSTED)$/
const UNFIT =
  /^(CERT_\w+|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_EXCEEDED|UNABLE_TO_DE\w+|ERROR_IN_CERT\w+|EE_KEY_TOO_SMALL|CA_\w+)$/

const UNKNOWN_HERE: CertificateFault = {
  kind: 'unknown authority',
  what: 'its certificate was signed by an authority that this host does not know',
  next: 'set S2_TLS_CA on the orchestrator’s host and have this credential made anew there (s2 credential rotate); or let this host trust it: NODE_EXTRA_CA_CERTS=/path/of/the/authority.pem',
}

const OTHER_KEY: CertificateFault = {
  kind: 'other key',
  what: 'its certificate has another key than the one that the credential names',
  next: 'if the bridge was given a new key, have this credential made anew there (s2 credential rotate); if not, somebody else answers at its address',
}

const UNKNOWN_CARRIED: CertificateFault = {
  kind: 'unknown authority',
  what: 'its certificate was signed by another authority than the one that came with the credential',
  next: 'set S2_TLS_CA on the orchestrator’s host to the authority that signed it, and have this credential made anew there (s2 credential rotate)',
}

/** Node's error carries the certificate, and the name that was wanted. */
function wrongName(error: Error): CertificateFault {
  const { host = 'that address', cert } = error as Error & { host?: string; cert?: { subjectaltname?: string } }
  const names = namesIn(cert?.subjectaltname ?? '').slice(0, NAMES_SHOWN)
  const has = names.length === 0 ? 'no name at all' : names.join(', ')
  return {
    kind: 'wrong name',
    what: `its certificate is for ${has}, and not for ${host}`,
    next: `add the name on the bridge’s host (s2 keys tls --name ${host}); or set S2_BRIDGE_URL there to a name that it has, and have this credential made anew (s2 credential rotate)`,
  }
}

const NAMES_SHOWN = 10
