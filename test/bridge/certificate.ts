/** Makes certificates for tests, so that none lies in the repository and no tool is asked for. */
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'

export interface Pair {
  readonly cert: string
  readonly key: string
}

interface Wishes {
  /** Common name of the one it is about. */
  readonly subject?: string
  /** The one name besides the address. */
  readonly name?: string
  readonly validMs?: readonly [from: number, until: number]
  /** Who signs it, by common name and key; itself unless said. */
  readonly by?: { readonly subject: string; readonly key: string }
}

const HOUR_MS = 3_600_000

/** A fresh certificate for an IPv4 address and localhost (X.509 version 3, RFC 5280), valid for 90 days and signed by itself. */
export function makeCertificate(now: Date, address = '127.0.0.1', wishes: Wishes = {}): Pair {
  const { subject = 'localhost', name = 'localhost', validMs = [-HOUR_MS, 90 * 24 * HOUR_MS], by } = wishes
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const [from, until] = validMs.map((ms) => time(new Date(now.getTime() + ms))) as [Buffer, Buffer]
  const names = sequence(tlv(0x82, Buffer.from(name)), tlv(0x87, Buffer.from(address.split('.').map(Number))))
  const extensions = sequence(
    sequence(oid('551d11'), tlv(0x04, names)),
    sequence(oid('551d13'), tlv(0x01, Buffer.from([0xff])), tlv(0x04, sequence(tlv(0x01, Buffer.from([0xff]))))),
  )
  const body = sequence(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))),
    tlv(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ECDSA_SHA256,
    commonName(by?.subject ?? subject),
    sequence(from, until),
    commonName(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    tlv(0xa3, extensions),
  )
  const seal = sign('sha256', body, by?.key ?? privateKey)
  const der = sequence(body, ECDSA_SHA256, tlv(0x03, Buffer.concat([Buffer.from([0]), seal])))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`,
    key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
  }
}

/** One DER element: its tag, its length, its content (X.690, 8.1). */
function tlv(tag: number, content: Buffer): Buffer {
  const { length } = content
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

function commonName(text: string): Buffer {
  return sequence(tlv(0x31, sequence(oid('550403'), tlv(0x0c, Buffer.from(text)))))
}

function sequence(...elements: readonly Buffer[]): Buffer {
  return tlv(0x30, Buffer.concat(elements))
}

function oid(hex: string): Buffer {
  return tlv(0x06, Buffer.from(hex, 'hex'))
}

function time(at: Date): Buffer {
  return tlv(0x18, Buffer.from(`${at.toISOString().replace(/\D/g, '').slice(0, 14)}Z`))
}

const ECDSA_SHA256 = sequence(oid('2a8648ce3d040302'))
