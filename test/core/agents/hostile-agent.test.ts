import assert from 'node:assert/strict'
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { publishClientSession, readClientSessions, removeClientSession } from '#agents/client-sessions-folder.ts'
import { HookReports } from '#agents/hook-reports.ts'
import { report } from './reports.ts'
import { sampleSession } from './sample-session.ts'

const ID = 'made-up-b'

/** A state folder in which an agent put links to what the services keep, in the place of the folders of clients. */
function linkedState(t: TestContext): string {
  const state = mkdtempSync(join(tmpdir(), 's2-agents-'))
  t.after(() => rmSync(state, { recursive: true }))
  for (const folder of ['agents', 'credentials/new', 'credentials/tmp'])
    mkdirSync(join(state, folder), { recursive: true })
  for (const name of [`claude-${ID}.json`, 'new/plain.json', 'tmp/old'])
    writeFileSync(join(state, 'credentials', name), 'of the services')
  for (const name of ['events', 'sessions']) symlinkSync('../credentials', join(state, 'agents', name))
  return state
}

function filesIn(state: string): string[] {
  const names = readdirSync(join(state, 'credentials'), { recursive: true }).map(String).sort()
  return names.map((name) => {
    const path = join(state, 'credentials', name)
    return lstatSync(path).isFile() ? `${name} ${readFileSync(path, 'utf8')}` : name
  })
}

test('links in the place of the folders of clients lead nowhere, and are put away', async (t) => {
  const state = linkedState(t)
  const before = filesIn(state)
  const session = sampleSession({ id: ID })
  const faults: string[] = []
  const reports = new HookReports(state, (fault) => faults.push(fault))
  assert.deepEqual(await reports.take(10), [])
  await reports.tidy(Date.now() + 86_400_000)
  await removeClientSession(state, session)
  assert.throws(() => reports.put(report({ hook_event_name: 'Stop' }), 1), /is no folder/)
  await reports.ensure()
  await publishClientSession(state, session)
  assert.deepEqual(filesIn(state), before)
  assert.equal(reports.put(report({ hook_event_name: 'Stop' }), 1), true)
  assert.equal((await reports.take(10)).length, 1)
  assert.deepEqual(
    (await readClientSessions(state)).map(({ id }) => id),
    [ID],
  )
  assert.equal(faults.length, 1)
})

test('rubbish in the folder of reports keeps no report back, and is told of a little at a time', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 's2-rubbish-'))
  t.after(() => rmSync(state, { recursive: true }))
  const faults: string[] = []
  const reports = new HookReports(state, (fault) => faults.push(fault))
  await reports.ensure()
  for (let index = 0; index < 600; index += 1) {
    const name = `${String(index).padStart(13, '0')}-1-00000000.json`
    if (index % 2 === 0) mkdirSync(join(reports.folder(), name))
    else writeFileSync(join(reports.folder(), name), 'no report')
  }
  reports.put(report({ hook_event_name: 'Stop' }, 1_750_000_000_000), 1)
  assert.equal((await reports.take(500)).length, 1)
  assert.ok(faults.length > 0 && faults.length <= 50, String(faults.length))
})
