import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ClientSession } from '#agents/client-session.ts'
import { readClientSessions } from '#agents/client-sessions-folder.ts'
import { HookReports } from '#agents/hook-reports.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { pidNamespace } from '#runtime/process-life.ts'
import { followClients } from '../../services/keepalive/follow-clients.ts'
import { report } from '../core/agents/reports.ts'
import { standInClient } from '../core/agents/stand-in-client.ts'
import { until } from '../until.ts'

test('a client whose files keepalive cannot see is as its hooks tell, and never gone for that', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 's2-follow-'))
  t.after(() => rmSync(state, { recursive: true, force: true }))
  const ending = new AbortController()
  const health = { metrics: { gauge: () => undefined }, warning: () => undefined, trouble: () => undefined }
  await using stack = new AsyncDisposableStack()
  stack.defer(() => ending.abort())
  const life = { clock: systemClock, chance: systemChance, log: recordingLog(), health: health as never }
  const clients = await followClients({ state, pollMs: 50 }, { ...life, draining: ending.signal, stack }, () => [])
  stack.defer(() => ending.abort())
  const folder = join(state, 'a home that is not shown', '.claude')
  const transcript_path = `${folder}/projects/-work/one.jsonl`
  const facts = {
    process: { ...standInClient(t), namespace: pidNamespace() },
    ...{ sharesProcess: false, pane: null, inboxSocket: null, version: null, session: null },
  }
  const told = { hook_event_name: 'UserPromptSubmit', prompt: 'go', transcript_path }
  new HookReports(state).put({ ...report(told, Date.now()), facts }, process.pid)
  clients.nudge()
  const shown = async (): Promise<ClientSession | undefined> => (await readClientSessions(state))[0]
  await until('it is told that its files are not seen', async () => (await shown())?.unseen.join() === 'files')
  assert.equal((await shown())?.activity.state, 'working')
  mkdirSync(folder, { recursive: true })
  await until('they are seen', async () => (await shown())?.unseen.length === 0)
  rmSync(folder, { recursive: true })
  await until('they are hidden again', async () => (await shown())?.unseen.join() === 'files')
  assert.equal((await shown())?.activity.state, 'working')
})
