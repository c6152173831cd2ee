import { X509Certificate } from 'node:crypto'

/** The content of a certificate. Times are milliseconds since 1970, UTC. */
export interface CertificateFacts {
  /** Its subject and its issuer: the common names, or the whole names where there is none. */
  readonly subject: string
  readonly issuer: string
  /** The names and addresses that it is valid for. */
  readonly names: readonly string[]
  readonly notBefore: number
  readonly notAfter: number
  /** Signed by its own key, so that those who shall trust it need it itself. */
  readonly selfSigned: boolean
  /** Whether it may sign others. */
  readonly isAuthority: boolean
}

/** A credential carries no larger authority, bytes. */
const AUTHORITY_MAX = 8_192

/** Reads the first certificate of a PEM text. Throws an Error that says what the text is instead. */
export function readCertificateFacts(pem: string): CertificateFacts {
  const [first] = readCertificates(pem)
  if (first === undefined) throw new Error('holds no certificate in PEM')
  return {
    subject: commonName(first.subject),
    issuer: commonName(first.issuer),
    names: namesIn(first.subjectAltName ?? ''),
    notBefore: first.validFromDate.getTime(),
    notAfter: first.validToDate.getTime(),
    selfSigned: first.checkIssued(first) && first.verify(first.publicKey),
    isAuthority: first.ca,
  }
}

/** All certificates of a PEM text, in their order. Throws an Error where one cannot be read. */
export function readCertificates(text: string): X509Certificate[] {
  return blocksIn(text)
    .filter(({ label }) => label === 'CERTIFICATE')
    .map(({ pem }) => parse(pem))
}

/**
 * The PEM of an authority as a credential carries it: certificates and nothing else, without the text that tools write
 * between them. Throws an Error that says what is wrong and shows nothing of the text.
 */
export function readAuthority(text: string): string {
  const blocks = blocksIn(text)
  if (/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(text)) {
    throw new Error('holds a private key, which must not be handed out')
  }
  if (blocks.length === 0) throw new Error('holds no certificate in PEM')
  if (blocks.some(({ label }) => label !== 'CERTIFICATE')) throw new Error('holds something other than certificates')
  const pem = blocks.map((block) => `${block.pem}\n`).join('')
  if (pem.length > AUTHORITY_MAX) {
    throw new Error(
      `holds ${pem.length} bytes of certificates; ${AUTHORITY_MAX} are allowed: the authority alone is wanted`,
    )
  }
  for (const block of blocks) parse(block.pem)
  return pem
}

/** Whether one of these authorities has signed the certificate. */
export function isSignedBy(certificate: X509Certificate, authorities: readonly X509Certificate[]): boolean {
  return authorities.some((each) => certificate.checkIssued(each) && certificate.verify(each.publicKey))
}

function blocksIn(text: string): { readonly label: string; readonly pem: string }[] {
  const found = text.matchAll(/-----BEGIN ([A-Z0-9 ]{1,40})-----[\s\S]*?-----END \1-----/g)
  return [...found].map(([pem, label = '']) => ({ label, pem: pem.replaceAll('\r', '') }))
}

function parse(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch {
    throw new Error('holds a certificate that cannot be read; it may be cut short')
  }
}

function commonName(name: string | undefined): string {
  return /^CN=(.*)$/m.exec(name ?? '')?.[1] ?? name?.replaceAll('\n', ', ') ?? ''
}

/** The names in what Node tells as `DNS:name, IP Address:10.0.0.5`; one that holds a comma or the like is a JSON text there. */
export function namesIn(line: string): string[] {
  const found = line.matchAll(/(?:^|, )(?:DNS|IP Address):("(?:[^"\\]|\\.)*"|[^,]*)/g)
  return [...found].map(([, name = '']) => {
    if (name.startsWith('"')) return JSON.parse(name) as string
    return name.includes(':') ? new URL(`http://[${name}]`).hostname.slice(1, -1) : name
  })
}

/** What is wrong with a certificate at a time. */
export interface CertificateTrouble {
  /** With `expires soon` all works still. */
  readonly kind: 'expired' | 'not yet valid' | 'expires soon'
  /** As the end of a sentence about the certificate. */
  readonly why: string
}

const DAY_MS = 86_400_000
/** People are told so long before a certificate expires. */
const SOON_MS = 14 * DAY_MS

/** Null when nothing is wrong. */
export function troubleWith({ notBefore, notAfter }: CertificateFacts, now: number): CertificateTrouble | null {
  if (now >= notAfter) return { kind: 'expired', why: `has expired on ${day(notAfter)}` }
  if (now < notBefore) return { kind: 'not yet valid', why: `is not valid before ${new Date(notBefore).toISOString()}` }
  if (notAfter - now > SOON_MS) return null
  return { kind: 'expires soon', why: `expires on ${day(notAfter)}, ${inDays(notAfter - now)}` }
}

function inDays(ms: number): string {
  const days = Math.floor(ms / DAY_MS)
  return days === 0 ? 'within a day' : `in ${days} day${days === 1 ? '' : 's'}`
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}
