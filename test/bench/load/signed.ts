import { randomBytes } from 'node:crypto'
import type { SessionId } from '#fleet/session-id.ts'
import { sign } from '#fleet/signature.ts'

/** Who sends, and where to. */
export interface Sender {
  readonly port: number
  readonly session: SessionId
  readonly token: string
}

const PATH = '/v1/send'

/** A signed request that sends a message under a key of its own: the bytes as they go over the wire. */
export function signedSend({ port, session, token }: Sender, text: string): Buffer {
  const body = Buffer.from(JSON.stringify({ from: session, key: randomBytes(12).toString('hex'), draft: { text } }))
  const signed = sign(
    { method: 'POST', authority: `127.0.0.1:${port}`, path: PATH, query: '?', body },
    { session, token, created: Math.floor(Date.now() / 1000), nonce: randomBytes(16).toString('base64url') },
  )
  const head = [
    `POST ${PATH} HTTP/1.1`,
    `host: 127.0.0.1:${port}`,
    'content-type: application/json',
    `content-length: ${body.length}`,
    ...Object.entries(signed).map(([name, value]) => `${name}: ${value}`),
    '\r\n',
  ]
  return Buffer.concat([Buffer.from(head.join('\r\n')), body])
}

/** Some text of so many characters that no two messages share. */
export function someText(length: number): string {
  return randomBytes(length).toString('base64').slice(0, length)
}

/** Where an answer ends, and what it says of itself; null while it is not all there. */
export function readAnswer(bytes: Buffer): { status: number; end: number } | null {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd < 0) return null
  const head = bytes.toString('latin1', 0, headEnd)
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1]
  if (length === undefined) throw new Error(`an answer without a length: ${head}`)
  const end = headEnd + 4 + Number(length)
  return bytes.length < end ? null : { status: Number(head.slice(9, 12)), end }
}
