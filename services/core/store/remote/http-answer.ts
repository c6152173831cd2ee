import type { ClientRequest, IncomingMessage } from 'node:http'
import type { HeaderFields } from '#fleet/signature.ts'

/** Larger answers are refused: the largest honest one is the pulses of a hundred thousand sessions, bytes. */
const ANSWER_MAX = 64 * 1024 * 1024

/** What came back, whoever gave it. */
export interface ReceivedAnswer {
  readonly status: number
  readonly headers: HeaderFields
  readonly body: Buffer
}

export function responseOf(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.on('response', resolve).on('error', reject)
    request.on('close', () => reject(new Error('the connection was closed')))
  })
}

export async function answerOf(request: ClientRequest): Promise<ReceivedAnswer> {
  const response = await responseOf(request)
  return { status: response.statusCode ?? 0, headers: response.headers, body: await bodyOf(response) }
}

export async function bodyOf(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    size += chunk.length
    if (size > ANSWER_MAX) throw new Error(`the answer is larger than ${ANSWER_MAX} bytes`)
  }
  return Buffer.concat(chunks)
}

/** The lines of a response as they come; empty lines only show that the bridge is there, and are left out. */
export async function* linesOf(response: IncomingMessage): AsyncGenerator<string> {
  let rest: Buffer[] = []
  let size = 0
  for await (let chunk of response as AsyncIterable<Buffer>) {
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10)) {
      const line = Buffer.concat([...rest, chunk.subarray(0, end)]).toString('utf8')
      rest = []
      size = 0
      chunk = chunk.subarray(end + 1)
      if (line !== '') yield line
    }
    rest.push(chunk)
    size += chunk.length
    if (size > ANSWER_MAX) throw new Error(`a line is larger than ${ANSWER_MAX} bytes`)
  }
}
