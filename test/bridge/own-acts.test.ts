/** A session has the stages of its host's guarded commands recorded, of itself and nothing else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Ground } from './ground.ts'

test('a session records the stages of its guarded commands, of itself alone', async () => {
  await using ground = await Ground.open()
  const { a, b } = await ground.channel()
  const worker = ground.as([b])
  const details = { command: ['git', 'status'], mode: 'safe' }
  await worker.record({ actor: b.session, action: 'guard_started', details })
  const entry = (await ground.store.audit(0, 100)).find(({ action }) => action === 'guard_started')
  assert.deepEqual([entry?.actor, entry?.details], [b.session, details])
  await assert.rejects(worker.record({ actor: b.session, action: 'conversation_ended', details }), {
    code: 'forbidden',
  })
  const body = JSON.stringify({ act: { actor: a.session, action: 'guard_started', details } })
  const answer = await ground.ask({ path: '/v1/record', body, headers: ground.signed(b, body, { path: '/v1/record' }) })
  assert.equal(answer.status, 403)
})

test('details that are nested without end are refused as what they are, and alarm nobody', async () => {
  await using ground = await Ground.open()
  const { b } = await ground.channel()
  const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`
  const body = `{"act":{"actor":"${b.session}","action":"guard_started","details":{"a":${deep}}}}`
  const { status, text } = await ground.ask({
    path: '/v1/record',
    body,
    headers: ground.signed(b, body, { path: '/v1/record' }),
  })
  assert.equal(status, 400, text)
  assert.deepEqual(
    ground.log.records.filter(({ level }) => level === 'error'),
    [],
  )
})
