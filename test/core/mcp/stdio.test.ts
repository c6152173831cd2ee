/** Lines of JSON, however they are cut. */
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { McpServer, type ToolAnswer } from '#mcp/mcp-server.ts'
import { serveStdio } from '#mcp/stdio.ts'
import { callTool, SHOWN_TOOLS } from '#mcp/tools.ts'
import type { Member } from '#member/member.ts'
import { type Clock, systemClock } from '#runtime/clock.ts'
import { ManualClock } from '../../manual-clock.ts'
import { until } from '../../until.ts'

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into
async function said(...chunks: (string | Buffer)[]): Promise<any[]> {
  const lines: string[] = []
  const call = async (): Promise<never> => Promise.reject(new Error('no tool is called here'))
  const server = new McpServer({ version: '1', instructions: '', tools: [], call })
  const input = Readable.from(chunks.map((chunk) => Buffer.from(chunk)))
  await serveStdio(server, input, async (line) => void lines.push(line), systemClock)
  return lines.map((line) => {
    assert.ok(line.endsWith('\n') && line.indexOf('\n') === line.length - 1)
    return JSON.parse(line)
  })
}

const ping = (id: number | string): string => `${JSON.stringify({ jsonrpc: '2.0', id, method: 'ping' })}\n`

test('lines are put together from any pieces, also in the middle of a character', async () => {
  const bytes = Buffer.from(`${ping('ä€')}\r\n\n${ping(2)}${ping(3).trimEnd()}`)
  const pieces = [...bytes].map((byte) => Buffer.from([byte]))
  assert.deepEqual(
    (await said(...pieces)).map(({ id }) => id),
    ['ä€', 2, 3],
    'the last one without its end',
  )
})

test('a line that is no JSON, or longer than is read, is refused, and the next one is read', async () => {
  const [bad, second] = await said('{"half\n', ping(1))
  assert.deepEqual([bad.error.code, bad.id, second.id], [-32700, null, 1])
  const long = Buffer.alloc(700_000, 'x')
  const answers = await said(long, long, long, '\n', ping(1))
  assert.deepEqual([answers.length, answers[0].error.code, answers[1].id], [2, -32700, 1])
})

test('a client that reads no answers is not read either, until it does', async () => {
  let asked = 0
  async function* input(): AsyncGenerator<Buffer> {
    for (; asked < 2_000; asked += 1) yield Buffer.from(ping(asked))
  }
  const server = new McpServer({ version: '1', instructions: '', tools: [], call: async () => Promise.reject() })
  const lines: string[] = []
  const reads = Promise.withResolvers<void>()
  const write = async (line: string): Promise<void> => {
    await reads.promise
    lines.push(line)
  }
  const served = serveStdio(server, Readable.from(input()), write, systemClock)
  await sleep(100)
  assert.ok(asked < 500, `${asked} were read`)
  reads.resolve()
  await served
  assert.equal(lines.length, 2_000)
})

/** One call of a tool, and the end of the input. Answers what it was answered with, and whether its signal has aborted. */
async function lastCall(act: () => Promise<unknown>, clock: Clock): Promise<{ lines: string[]; isAborted: boolean }> {
  const lines: string[] = []
  const signals: AbortSignal[] = []
  const call = async (_name: string, _input: object, signal: AbortSignal): Promise<ToolAnswer> => {
    signals.push(signal)
    await act()
    return { text: '{}', isError: false }
  }
  const [tool] = SHOWN_TOOLS
  const server = new McpServer({ version: '1', instructions: '', tools: SHOWN_TOOLS, call })
  const request = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: tool?.name, arguments: {} } }
  const hello = { jsonrpc: '2.0', id: 0, method: 'initialize', params: { protocolVersion: '2025-11-25' } }
  const input = Readable.from([hello, request].map((each) => Buffer.from(`${JSON.stringify(each)}\n`)))
  await serveStdio(server, input, async (line) => void lines.push(line), clock)
  return { lines, isAborted: signals.length === 1 && signals.every(({ aborted }) => aborted) }
}

test('calls under way when the input ends are answered, and none is waited for long', async () => {
  const { lines, isAborted } = await lastCall(async () => await sleep(50), systemClock)
  assert.deepEqual([lines.length, isAborted], [2, false])
  const clock = new ManualClock()
  const serving = lastCall(() => new Promise(() => undefined), clock)
  let hasEnded = false
  void serving.then(() => {
    hasEnded = true
  })
  await until('the call is under way', async () => {
    await clock.advance(100)
    return clock.now() > 3_000
  })
  assert.ok(!hasEnded)
  await clock.advance(5_000)
  assert.deepEqual([(await serving).lines.length, (await serving).isAborted], [1, true])
})

test('the longest line that is read is a mebibyte, in whatever pieces it comes', async () => {
  const line = (bytes: number): string => {
    const frame = ping('')
    return ping('x'.repeat(bytes - frame.length + 1))
  }
  for (const pieces of [1, 3, 700_000]) {
    for (const [bytes, isRead] of [
      [1024 * 1024, true],
      [1024 * 1024 + 1, false],
    ] as const) {
      const text = line(bytes)
      const chunks = [text.slice(0, pieces), text.slice(pieces), ping(2)]
      const [first, second] = await said(...chunks)
      assert.deepEqual([first.error === undefined, second.id], [isRead, 2], `${pieces} ${bytes}`)
    }
  }
})

test('tools are named for models, always loaded, and refuse what does not fit with what to do', async () => {
  assert.ok(SHOWN_TOOLS.length >= 13)
  for (const { name, description, inputSchema, _meta } of SHOWN_TOOLS) {
    assert.match(name, /^[a-z_]{4,30}$/)
    assert.ok(description.length <= 420, `${name}: ${description.length}`)
    assert.equal(_meta['anthropic/alwaysLoad'], true)
    assert.equal(inputSchema.additionalProperties, false)
  }
  const nobody = (): Promise<Member> => Promise.reject(new Error('no member is needed'))
  for (const [name, input, why] of [
    ['ack_messages', {}, /the argument ids is missing/],
    ['ack_messages', { ids: [] }, /has 0 entries; at least 1 are needed/],
    ['ack_messages', { ids: ['1'] }, /has an entry that must be a whole number/],
    ['report_progress', { task_id: 't', percent: 101 }, /percent must be at most 100/],
    ['send_to_partner', { message: '' }, /must not be empty/],
    ['assign_task', { description: 'x', priority: 'P9' }, /must be one of P0, P1, P2, P3/],
    ['check_messages', { __proto__: null, constructor: 1 }, /there is no argument "constructor"/],
  ] as const) {
    const { text, isError } = await callTool(nobody, name, input)
    assert.equal(isError, true)
    assert.match(JSON.parse(text).error.message, why)
  }
})
