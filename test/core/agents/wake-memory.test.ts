import assert from 'node:assert/strict'
import { chownSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { trialName, trialsFile, WakeMemory } from '#agents/wake/wake-memory.ts'
import { sampleSession } from './sample-session.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-wakes-'))
after(() => rmSync(folder, { recursive: true }))

const HOUR_MS = 3_600_000
const READ = { rung: 'tmux', readMs: 700, at: 5_000 } as const
const SESSION = 'conv_00000000000000aa/b'

test('the next start knows which way was read, by agent, client and version', async () => {
  const path = join(folder, 'worked')
  const memory = await WakeMemory.open(path)
  assert.equal(memory.worked('w-1', null), null)
  await memory.noteWorked('w-1', sampleSession(), READ)
  await memory.noteWorked('w-1', sampleSession({ version: null }), { ...READ, rung: 'rewake' })
  await memory.noteWorked('w-2', null, { ...READ, rung: 'exec' })
  const next = await WakeMemory.open(path)
  assert.deepEqual(next.worked('w-1', sampleSession()), READ)
  assert.equal(next.worked('w-1', sampleSession({ version: null }))?.rung, 'rewake')
  assert.equal(next.worked('w-2', null)?.rung, 'exec')
  for (const other of [{ version: '2.0.0' }, { client: 'codex' }] as const)
    assert.equal(next.worked('w-1', sampleSession(other)), null)
  assert.equal(next.worked('w-2', sampleSession()), null)
})

test('of the agents with their clients, a thousand are remembered, those that were read last', async () => {
  const path = join(folder, 'many')
  const worked = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`w-${index}`, READ]))
  writeFileSync(path, JSON.stringify({ worked }), { mode: 0o600 })
  const memory = await WakeMemory.open(path)
  await memory.noteWorked('w-0', null, READ)
  await memory.noteWorked('new', null, READ)
  const next = await WakeMemory.open(path)
  assert.deepEqual(
    ['w-0', 'w-1', 'w-2', 'new'].map((agent) => next.worked(agent, null) !== null),
    [true, false, true, true],
  )
})

test('what was sent counts for an hour, whatever the next start is', async () => {
  const path = join(folder, 'sent')
  const memory = await WakeMemory.open(path)
  await memory.noteSent('w-1', 1_000)
  await memory.noteSent('w-1', HOUR_MS)
  await memory.noteSent('w-2', HOUR_MS)
  const next = await WakeMemory.open(path)
  assert.deepEqual(next.sent('w-1'), [1_000, HOUR_MS])
  assert.deepEqual(next.sent('w-2'), [HOUR_MS])
  assert.deepEqual(next.sent('w-3'), [])
  await next.noteSent('w-1', HOUR_MS + 999)
  assert.equal(next.sent('w-1').length, 3)
  await next.noteSent('w-1', HOUR_MS + 1_000)
  assert.deepEqual(next.sent('w-1'), [HOUR_MS, HOUR_MS + 999, HOUR_MS + 1_000])
})

test('an agent that was not woken is known until it was reached again', async () => {
  const path = join(folder, 'unwoken')
  const memory = await WakeMemory.open(path)
  const idle = { sessions: [SESSION], idleWith: { task: 't-1', rest: 'one' } } as const
  await memory.noteUnwoken('w-1', idle)
  await memory.noteUnwoken('w-2', { sessions: [], idleWith: null })
  const next = await WakeMemory.open(path)
  assert.deepEqual(
    next.unwoken(),
    new Map([...Object.entries({ 'w-1': idle, 'w-2': { sessions: [], idleWith: null } })]),
  )
  await next.noteReached('w-1')
  assert.deepEqual([...(await WakeMemory.open(path)).unwoken().keys()], ['w-2'])
})

test('notes that are made at once are all kept', async () => {
  const path = join(folder, 'at-once')
  const memory = await WakeMemory.open(path)
  await Promise.all(Array.from({ length: 20 }, (_, index) => memory.noteSent(`w-${index}`, index)))
  assert.equal(Object.keys(JSON.parse(readFileSync(path, 'utf8')).sent).length, 20)
})

test('of a file that makes no sense nothing counts, and of one that makes some, that', async () => {
  const path = join(folder, 'broken')
  const open = async (text: string): Promise<WakeMemory> => {
    writeFileSync(path, text, { mode: 0o600 })
    return await WakeMemory.open(path)
  }
  for (const text of ['', 'half {', 'null', '{"worked": {"w-1": null}, "sent": {"w-1": [1]}}']) {
    const memory = await open(text)
    assert.deepEqual([memory.worked('w-1', null), memory.sent('w-1'), memory.unwoken().size], [null, [], 0], text)
  }
  const memory = await open(
    JSON.stringify({
      worked: { 'w-1': { ...READ, rung: 'smoke' }, 'w-2': READ },
      sent: { 'w-1': 'now', 'w-2': [1, 'now'], 'w-3': [1] },
      unwoken: {
        ...{
          'w-1': null,
          'w-2': { sessions: 'all' },
          'w-3': { sessions: [SESSION, '../../etc'], idleWith: { task: 7 } },
        },
        'w-4': { sessions: [SESSION], idleWith: { task: 't-1' } },
      },
    }),
  )
  assert.deepEqual([memory.worked('w-1', null), memory.worked('w-2', null)], [null, READ])
  assert.deepEqual([memory.sent('w-1'), memory.sent('w-2'), memory.sent('w-3')], [[], [], [1]])
  const whole = { sessions: [SESSION], idleWith: null }
  assert.deepEqual(memory.unwoken(), new Map(Object.entries({ 'w-3': whole, 'w-4': whole })))
})

test('trials of a person lie in a file of their own, under the session of the client', () => {
  assert.equal(trialsFile('/state'), '/state/watcher/wake-test.json')
  assert.equal(trialName({ session: SESSION }), SESSION)
  assert.equal(trialName({ session: null }), 'any')
})

test('a note that the disk does not take keeps no later one from it, and is kept with that', async () => {
  const place = join(folder, 'away')
  writeFileSync(place, '')
  const memory = await WakeMemory.open(join(place, 'wakes'))
  await assert.rejects(memory.noteSent('w-1', 1_000))
  assert.deepEqual(memory.sent('w-1'), [1_000])
  rmSync(place)
  await memory.noteSent('w-1', 2_000)
  assert.deepEqual((await WakeMemory.open(join(place, 'wakes'))).sent('w-1'), [1_000, 2_000])
})

test('what was sent counts at once, and its note leaves the event loop to what is being sent', async () => {
  const path = join(folder, 'later', 'wakes')
  const memory = await WakeMemory.open(path)
  const noted = memory.noteSent('w-1', 1_000)
  assert.deepEqual(memory.sent('w-1'), [1_000])
  for (let promises = 0; promises < 20; promises += 1) await null
  assert.equal(existsSync(join(folder, 'later')), false)
  await noted
  assert.deepEqual((await WakeMemory.open(path)).sent('w-1'), [1_000])
})

test('a memory that another user put there counts for nothing', { skip: process.getuid?.() !== 0 }, async () => {
  const path = join(folder, 'foreign')
  writeFileSync(path, '{"sent": {"w-1": [1]}}', { mode: 0o644 })
  assert.deepEqual((await WakeMemory.open(path)).sent('w-1'), [1])
  chownSync(path, 65_534, 65_534)
  assert.deepEqual((await WakeMemory.open(path)).sent('w-1'), [])
})

test('a file that names some of it alone counts for that', async () => {
  const path = join(folder, 'some')
  for (const [text, counts] of [
    ['{"worked": {"w-1": {"rung": "tmux"}}}', [true, 0, 0]],
    ['{"sent": {"w-1": [1]}}', [false, 1, 0]],
    ['{"unwoken": {"w-1": {"sessions": []}}}', [false, 0, 1]],
  ] as const) {
    writeFileSync(path, text, { mode: 0o600 })
    const memory = await WakeMemory.open(path)
    const found = [memory.worked('w-1', null) !== null, memory.sent('w-1').length, memory.unwoken().size]
    assert.deepEqual(found, counts)
  }
})
