/** The Model Context Protocol, revision by revision, without a transport. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BATCH_MAX, McpServer, type McpServerParts, type ToolAnswer } from '#mcp/mcp-server.ts'
import type { Revision } from '#mcp/revisions.ts'

const MODERN_META = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientCapabilities': {},
}

function serverWith(parts: Partial<McpServerParts> = {}, revision: Revision | null = null): McpServer {
  const call = async (name: string): Promise<ToolAnswer> => ({ text: `called ${name}`, isError: false })
  return new McpServer({ version: '1', instructions: 'do', tools: [{ name: 'one' }], call, ...parts }, revision)
}

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into
async function ask(server: McpServer, message: unknown): Promise<any> {
  return await server.answer(message)
}

function request(method: string, params: object = {}, id: unknown = 1): object {
  return { jsonrpc: '2.0', id, method, params }
}

test('initialize answers the revision that is asked for, and the newest where that is not known', async () => {
  for (const known of ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25']) {
    const { result } = await ask(serverWith(), request('initialize', { protocolVersion: known }))
    assert.deepEqual([result.protocolVersion, result.capabilities], [known, { tools: {} }])
  }
  for (const other of ['2019-01-01', '2026-07-28'])
    assert.equal(
      (await ask(serverWith(), request('initialize', { protocolVersion: other }))).result.protocolVersion,
      '2025-11-25',
    )
  assert.equal((await ask(serverWith(), request('initialize'))).error.code, -32602)
})

test('revision 2026-07-28 needs no handshake, and its results say that they are whole', async () => {
  const server = serverWith()
  const { result: found } = await ask(server, request('server/discover', { _meta: MODERN_META }))
  assert.ok(found.supportedVersions.includes('2026-07-28') && found.supportedVersions.includes('2024-11-05'))
  assert.deepEqual([found.resultType, found.cacheScope, found.capabilities], ['complete', 'private', { tools: {} }])
  const { result: list } = await ask(server, request('tools/list', { _meta: MODERN_META }))
  assert.deepEqual([list.resultType, list.tools], ['complete', [{ name: 'one' }]])
  assert.equal(typeof list.ttlMs, 'number')
  const { result: called } = await ask(server, request('tools/call', { name: 'one', _meta: MODERN_META }))
  assert.deepEqual([called.resultType, called.content[0].text], ['complete', 'called one'])
})

test('a request of a revision that is not spoken is told which are', async () => {
  const _meta = { ...MODERN_META, 'io.modelcontextprotocol/protocolVersion': '2030-01-01' }
  const { error } = await ask(serverWith(), request('tools/list', { _meta }))
  assert.deepEqual([error.code, error.data.requested], [-32022, '2030-01-01'])
  assert.ok(error.data.supported.includes('2026-07-28'))
  const bare = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' }
  assert.equal((await ask(serverWith(), request('tools/list', { _meta: bare }))).error.code, -32602)
  assert.equal((await ask(serverWith(), request('server/discover'))).error.code, -32602)
})

test('results of older revisions have no fields of the newest', async () => {
  const { result } = await ask(serverWith(), request('tools/list'))
  assert.deepEqual(Object.keys(result), ['tools'])
  assert.deepEqual((await ask(serverWith(), request('ping'))).result, {})
})

test('what is no request is refused by its code, and notifications are not answered', async () => {
  const server = serverWith()
  for (const bad of [null, 7, 'x', {}, { jsonrpc: '1.0', id: 1, method: 'ping' }, request('ping', {}, null)])
    assert.equal((await ask(server, bad)).error.code, -32600, JSON.stringify(bad))
  assert.equal((await ask(server, { jsonrpc: '2.0', id: 1, method: 'ping', params: [1] })).error.code, -32600)
  assert.equal((await ask(server, request('resources/list'))).error.code, -32601)
  assert.equal((await ask(server, request('tools/call', { name: 'none' }))).error.code, -32602)
  assert.equal((await ask(server, request('tools/call', { name: 'one', arguments: [] }))).error.code, -32602)
  assert.equal(await ask(server, { jsonrpc: '2.0', method: 'notifications/initialized' }), null)
  assert.equal(await ask(server, { jsonrpc: '2.0', id: 5, result: {} }), null)
})

test('batches are for the revisions that have them', async () => {
  const batch = [request('ping', {}, 1), { jsonrpc: '2.0', method: 'notifications/initialized' }, request('no', {}, 2)]
  const answers = await ask(serverWith({}, '2025-03-26'), batch)
  assert.deepEqual(
    answers.map(({ id, error }: { id: number; error?: { code: number } }) => [id, error?.code]),
    [
      [1, undefined],
      [2, -32601],
    ],
  )
  assert.equal((await ask(serverWith({}, '2025-06-18'), batch)).error.code, -32600)
  assert.equal((await ask(serverWith({}, '2025-03-26'), [])).error.code, -32600)
  assert.equal(await ask(serverWith({}, '2025-03-26'), [batch[1]]), null)
})

test('a cancelled call is not answered, and its signal aborts', async () => {
  const aborted = Promise.withResolvers<void>()
  const server = serverWith({
    call: async (_name, _input, signal) => {
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
      aborted.resolve()
      return { text: '', isError: false }
    },
  })
  const called = server.answer(request('tools/call', { name: 'one' }, 'c'))
  const twice = await ask(server, request('tools/call', { name: 'one' }, 'c'))
  assert.equal(twice.error.code, -32600, 'one id is one call')
  await server.answer({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'other' } })
  await server.answer({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'c' } })
  await aborted.promise
  assert.equal(await called, null)
})

test('more calls at once than are allowed are refused', async () => {
  const over = Promise.withResolvers<ToolAnswer>()
  const server = serverWith({ call: () => over.promise })
  const calls = Array.from({ length: 70 }, (_, id) => ask(server, request('tools/call', { name: 'one' }, id)))
  over.resolve({ text: 'x', isError: false })
  const answers = await Promise.all(calls)
  assert.equal(answers.filter(({ error }) => error !== undefined).length, 6)
})

test('a call that has ended is under way no more: its id may come again, and any number may follow', async () => {
  const server = serverWith()
  for (let call = 0; call < 100; call += 1)
    assert.equal((await ask(server, request('tools/call', { name: 'one' }))).result.isError, false)
})

test('only a word of cancelling cancels a call', async () => {
  const ended = Promise.withResolvers<ToolAnswer>()
  const server = serverWith({ call: () => ended.promise })
  const called = ask(server, request('tools/call', { name: 'one' }, 'c'))
  await server.answer({ jsonrpc: '2.0', method: 'notifications/progress', params: { requestId: 'c' } })
  await server.answer({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: null } })
  ended.resolve({ text: 'x', isError: false })
  assert.equal((await called).result.content[0].text, 'x')
})

test('an answer that nobody asked for is passed over, and a message without a method is refused', async () => {
  for (const message of [{ result: {} }, { error: {} }, { id: 1, result: {}, error: {} }])
    assert.equal(await ask(serverWith(), { jsonrpc: '2.0', ...message }), null)
  for (const message of [{ id: 1 }, { id: 1, method: 5 }, { id: 1, method: 5, result: {} }])
    assert.equal((await ask(serverWith(), { jsonrpc: '2.0', ...message })).error.code, -32600, JSON.stringify(message))
  const { result, id } = await ask(serverWith(), { jsonrpc: '2.0', id: 0, method: 'ping' })
  assert.deepEqual([result, id], [{}, 0], 'params may be left out, and 0 is an id')
})

test('what a client says beside a call reaches whoever carries it out', async () => {
  const metas: unknown[] = []
  const server = serverWith({
    call: async (_name, _input, _signal, meta) => {
      metas.push(meta)
      return { text: '', isError: false }
    },
  })
  await ask(server, request('tools/call', { name: 'one', _meta: { sessionId: 's' } }))
  for (const _meta of [undefined, 5, ['x']]) await ask(server, request('tools/call', { name: 'one', _meta }))
  assert.deepEqual(metas, [{ sessionId: 's' }, {}, {}, {}])
})

test('a batch has at most as many messages as it may', async () => {
  const batch = (length: number): object[] => Array.from({ length }, (_, id) => request('ping', {}, id))
  assert.equal((await ask(serverWith({}, '2025-03-26'), batch(BATCH_MAX))).length, BATCH_MAX)
  assert.equal((await ask(serverWith({}, '2025-03-26'), batch(BATCH_MAX + 1))).error.code, -32600)
})
