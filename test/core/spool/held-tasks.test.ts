import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { pidNamespace } from '#runtime/process-life.ts'
import { processStart } from '#runtime/process-stat.ts'
import { type HeldTask, HeldTasks, isHolderAlive } from '#spool/held-tasks.ts'
import { OTHER, READER } from './sample.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-held-'))
after(() => rmSync(folder, { recursive: true }))

const OWN = { pid: process.pid, startTicks: processStart(process.pid) ?? '', namespace: pidNamespace() }
const HELD: HeldTask = {
  session: READER,
  task: 't-1',
  epoch: 2,
  incarnation: 'one',
  by: { client: 'claude', id: 'one' },
  process: OWN,
  place: 'here',
  takenAt: 1_000,
  work: 3,
  lost: 'it was moved away',
  ended: '0000000000000001-0123456789abcdef',
}

test('what is held is found whole, by its session and its task', async () => {
  const held = new HeldTasks(join(folder, 'whole'))
  assert.deepEqual(await held.list(), [])
  assert.equal(await held.find(READER, 't-1'), null)
  const bare = {
    ...HELD,
    session: OTHER,
    by: null,
    process: null,
    place: null,
    lost: null,
    ended: null,
    epoch: 0,
    work: 0,
  }
  await held.put(HELD)
  await held.put(bare)
  assert.deepEqual(await held.list(), [HELD, bare])
  assert.deepEqual(await held.find(READER, 't-1'), HELD)
  assert.deepEqual(await held.find(OTHER, 't-1'), bare)
  assert.equal(await held.find(READER, 't-2'), null)
  assert.equal(await held.find(READER, '../held/t-1'), null)
  const before = held.version()
  await held.put({ ...HELD, work: 4 })
  assert.notEqual(held.version(), before)
  assert.equal((await held.list()).length, 2)
})

test('another epoch of a task that is held stays', async () => {
  const held = new HeldTasks(join(folder, 'epochs'))
  await held.put(HELD)
  await held.remove({ ...HELD, epoch: 1 })
  assert.deepEqual(await held.find(READER, 't-1'), HELD)
  await held.remove(HELD)
  assert.equal(await held.find(READER, 't-1'), null)
  await held.remove(HELD)
})

test('a file that cannot be read as what it is called does not keep its name from being let go', async () => {
  const held = new HeldTasks(join(folder, 'broken'))
  await held.put(HELD)
  const [path] = [join(held.folder, `${READER.replace('/', '-')}-t-1.json`)]
  assert.ok(existsSync(path))
  writeFileSync(path, 'half')
  await held.remove(HELD)
  assert.ok(!existsSync(path))
})

/** What an agent's own user may have written there, and what is read of it: null where it is passed over. */
const WRITTEN: Readonly<Record<string, [fields: object, read: Partial<HeldTask> | null]>> = {
  'no session': [{ session: 7 }, null],
  'a session that is none': [{ session: '../../etc' }, null],
  'no task': [{ task: null }, null],
  'a task that is none': [{ task: '../t-1' }, null],
  'an epoch that is no number': [{ epoch: '2' }, null],
  'an epoch below zero': [{ epoch: -1 }, null],
  'a part of an epoch': [{ epoch: 1.5 }, null],
  'work that is no number': [{ work: null }, null],
  'no time': [{ takenAt: 'now' }, null],
  'no incarnation': [{ incarnation: undefined }, null],
  'an empty incarnation': [{ incarnation: '' }, null],
  'half a client': [{ by: { client: 'claude' } }, { by: null }],
  'the other half': [{ by: { id: 'one' } }, { by: null }],
  'a client with more': [{ by: { client: 'claude', id: 'one', more: 1 } }, {}],
  'a place that is none': [{ place: 5 }, { place: null }],
  'a loss without a word': [{ lost: true }, { lost: null }],
  'an end that no item tells': [{ ended: '../t-1' }, { ended: null }],
  'no process': [{ process: { pid: -1 } }, { process: null }],
}

for (const [what, [fields, read]] of Object.entries(WRITTEN)) {
  test(`of what anybody may have written, ${what} is ${read === null ? 'passed over' : 'no more than that'}`, async () => {
    const held = new HeldTasks(join(folder, what.replaceAll(' ', '-')))
    await held.put(HELD)
    writeFileSync(join(held.folder, `${READER.replace('/', '-')}-t-1.json`), JSON.stringify({ ...HELD, ...fields }))
    assert.deepEqual(await held.list(), read === null ? [] : [{ ...HELD, ...read }])
  })
}

test('a holder is alive while its process is, and where none is seen while its host was not started again', () => {
  const dead = { ...OWN, startTicks: '1' }
  const elsewhere = { ...OWN, namespace: 'pid:[1]' }
  const cases = [
    [{ process: OWN, place: 'before' }, 'here', true],
    [{ process: dead, place: 'here' }, 'here', false],
    [{ process: elsewhere, place: 'here' }, 'here', true],
    [{ process: elsewhere, place: 'before' }, 'here', false],
    [{ process: null, place: 'here' }, 'here', true],
    [{ process: null, place: 'before' }, 'here', false],
    [{ process: null, place: null }, 'here', true],
    [{ process: null, place: 'before' }, undefined, true],
  ] as const
  for (const [fields, place, isAlive] of cases) {
    assert.equal(isHolderAlive({ ...HELD, ...fields }, place), isAlive, JSON.stringify([fields, place]))
  }
})
