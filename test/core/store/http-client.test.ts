import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openRemoteStore } from '#store/remote/remote.ts'

const B = 'conv_0123456789abcdef/b'

/** What a bridge says to one question after the other; the last is said again. */
async function asked(answers: readonly (() => readonly [status: number, body: unknown])[]) {
  let count = 0
  const server = createServer((request, response) => {
    request.resume()
    request.on('end', () => {
      const [status, body] = (answers[Math.min(count, answers.length - 1)] as (typeof answers)[number])()
      count += 1
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const parts = { clock: systemClock, chance: () => 0, log: recordingLog() }
  const store = openRemoteStore(url, { token: () => 'ab'.repeat(32), sessions: () => [B] }, parts)
  try {
    return { answer: await store.conversations().catch((error: unknown) => error), count }
  } finally {
    await store[Symbol.asyncDispose]()
    server.close()
    server.closeAllConnections()
  }
}

/** What a server of Node's says to those who were not heard in time: it is no problem of ours by its form. */
const notHeard = () => [408, ''] as const
const away = () => [503, { code: 'unavailable', detail: 'starting' }] as const
const justStarted = () => {
  return [401, { code: 'expired', detail: 'just started', time: Date.now(), retryAfterS: 0.05 }] as const
}

test('tries in vain end, but a bridge that says when it will hear us is waited for', async () => {
  const inVain = await asked([away])
  assert.equal((inVain.answer as { code: string }).code, 'unavailable')
  assert.equal(inVain.count, 3)
  const atLast = await asked([away, away, justStarted, justStarted, () => [200, []]])
  assert.deepEqual(atLast, { answer: [], count: 5 })
})

test('who was not heard, as the bridge itself stood still, asks again', async () => {
  assert.deepEqual(await asked([notHeard, () => [200, []]]), { answer: [], count: 2 })
  assert.equal(((await asked([notHeard])).answer as { code: string }).code, 'unavailable')
})
