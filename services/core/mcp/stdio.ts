import type { Readable } from 'node:stream'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import { faultOf, RPC } from './json-rpc.ts'
import type { McpServer } from './mcp-server.ts'

/** Bytes of the longest line that is read: a full message, each character escaped, fits three times. */
const LINE_MAX = 1024 * 1024
/** How long calls under way may take when the input has ended. */
const LAST_CALLS_MS = 5_000

/** Lines under way, of which calls are fewer: a client that reads no answers is not read either, so that they take no memory without end. */
const GOING_MAX = 256

const NEWLINE = 0x0a

/**
 * Serves one client over lines of JSON, until its input ends. `write` gets whole lines, and settles when they have left; nothing else may
 * be written there.
 */
export async function serveStdio(
  server: McpServer,
  input: Readable,
  write: (line: string) => Promise<void>,
  clock: Clock,
): Promise<void> {
  const going = new Set<Promise<void>>()
  for await (const line of linesOf(input)) {
    const answered = answerLine(server, line, write).finally(() => going.delete(answered))
    going.add(answered)
    if (going.size >= GOING_MAX) await Promise.race(going)
  }
  if ((await waitAtMost(Promise.all(going), LAST_CALLS_MS, clock)) === LATE) server.abort()
}

async function answerLine(
  server: McpServer,
  line: string | null,
  write: (line: string) => Promise<void>,
): Promise<void> {
  const answer = line === null ? tooLong() : await answerTo(server, line)
  if (answer !== null) await write(`${JSON.stringify(answer)}\n`)
}

async function answerTo(server: McpServer, line: string): Promise<object | null> {
  let message: unknown
  try {
    message = JSON.parse(line)
  } catch {
    return faultOf(null, { code: RPC.parse, message: 'a line is no JSON' })
  }
  return await server.answer(message)
}

function tooLong(): object {
  return faultOf(null, { code: RPC.parse, message: `a line is longer than ${LINE_MAX} bytes` })
}

/** The lines of a stream, without those that are empty; null for one that is too long, whose rest is thrown away. */
async function* linesOf(input: Readable): AsyncGenerator<string | null> {
  let parts: Buffer[] = []
  let length = 0
  for await (const chunk of input as AsyncIterable<Buffer>) {
    let from = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      yield* lineOf(parts, length, chunk.subarray(from, end))
      parts = []
      length = 0
      from = end + 1
    }
    const rest = chunk.subarray(from)
    length += rest.length
    if (length <= LINE_MAX) parts.push(rest)
    else parts = []
  }
  yield* lineOf(parts, length, Buffer.alloc(0))
}

function* lineOf(parts: readonly Buffer[], length: number, last: Buffer): Generator<string | null> {
  if (length + last.length > LINE_MAX) return yield null
  const line = Buffer.concat([...parts, last])
    .toString('utf8')
    .trim()
  if (line !== '') yield line
}
