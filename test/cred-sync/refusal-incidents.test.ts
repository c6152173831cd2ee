import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Incident, NewIncident } from '#fleet/incident.ts'
import type { Worker } from '#fleet/worker.ts'
import { recordingLog } from '#runtime/log.ts'
import { CredentialIncidents } from '../../services/cred-sync/credential-incidents.ts'
import { RefusalIncidents } from '../../services/cred-sync/refusal-incidents.ts'
import { ManualClock } from '../manual-clock.ts'

const POLL_MS = 60_000

function scene() {
  const clock = new ManualClock()
  const told: string[] = []
  const refusing = new Map<string, string>()
  const open = new Map<string, NewIncident>()
  const world = { isAway: false }
  const store = {
    workers: async () => [...refusing].map(([agent, refusal]) => ({ agent, refusal, revokedAt: null }) as Worker),
    incidents: async () => [...open.values()] as Incident[],
    openIncident: async (incident: NewIncident) => {
      if (open.has(incident.cause)) return false
      open.set(incident.cause, incident)
      told.push(`open ${incident.agent}`)
      return true
    },
    closeIncident: async (cause: string) => {
      if (open.delete(cause)) told.push(`close ${cause.split(':').at(-1)}`)
      return true
    },
  }
  const start = (): RefusalIncidents =>
    new RefusalIncidents(
      { store, clock, incidents: new CredentialIncidents(store, { clock, log: recordingLog() }) },
      POLL_MS,
    )
  const pass = async (refusals: RefusalIncidents, ms: number): Promise<number> => {
    let looks = 0
    for (let at = 0; at < ms; at += 2_000) {
      looks += (await refusals.note()) ? 1 : 0
      await clock.advance(2_000)
    }
    return looks
  }
  return { clock, told, refusing, open, world, start, pass }
}

test('a refusal that is over within two polls is no incident, one that lasts is; the branch is looked at first', async () => {
  const { told, refusing, start, pass } = scene()
  const refusals = start()
  refusing.set('s2-worker-1', 'it is wrong')
  assert.equal(await pass(refusals, 119_000), 1)
  assert.deepEqual(told, [])
  refusing.clear()
  await pass(refusals, 4_000)
  refusing.set('s2-worker-1', 'it is wrong')
  await pass(refusals, 240_000)
  refusing.clear()
  await pass(refusals, 4_000)
  assert.deepEqual(told, ['open s2-worker-1', 'close s2-worker-1'])
})

test('one worker hides no other, and none inherits the age of another', async () => {
  const { told, refusing, start, pass } = scene()
  const refusals = start()
  refusing.set('s2-worker-1', 'of a host that has gone over')
  await pass(refusals, 200_000)
  refusing.set('s2-worker-2', 'it is wrong')
  await pass(refusals, 100_000)
  assert.deepEqual(told, ['open s2-worker-1'])
  await pass(refusals, 30_000)
  assert.deepEqual(told, ['open s2-worker-1', 'open s2-worker-2'])
  refusing.delete('s2-worker-1')
  await pass(refusals, 4_000)
  assert.deepEqual(told.slice(2), ['close s2-worker-1'])
})

test('what a program before told of is ended, also for a worker that is gone', async () => {
  const { told, refusing, open, start, pass } = scene()
  refusing.set('s2-worker-1', 'it is wrong')
  await pass(start(), 200_000)
  refusing.clear()
  await pass(start(), 4_000)
  assert.deepEqual(told, ['open s2-worker-1', 'close s2-worker-1'])
  assert.equal(open.size, 0)
})

test('a host that changes its mind all the time has the branch looked at once a poll', async () => {
  const { refusing, start, pass } = scene()
  const refusals = start()
  let looks = 0
  for (let turn = 0; turn < 60; turn += 1) {
    if (turn % 2 === 0) refusing.set('s2-worker-1', `${turn}`)
    else refusing.clear()
    looks += await pass(refusals, 2_000)
  }
  assert.equal(looks, 2)
})

test('what a host says stands quoted, so that it reads as nothing of ours', async () => {
  const { refusing, open, start, pass } = scene()
  refusing.set('s2-worker-1', 'all is well; next: "run" this')
  await pass(start(), 200_000)
  assert.match([...open.values()][0]?.summary ?? '', /it says: "all is well; next: \\"run\\" this"; see who writes/)
})
