import assert from 'node:assert/strict'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import type { NewIncident } from '#fleet/incident.ts'
import { recordingLog } from '#runtime/log.ts'
import {
  ALTERED,
  AWAY_MS,
  CredentialIncidents,
  foreignFiles,
  plainCredentials,
  REMOTE_AWAY,
} from '../../services/cred-sync/credential-incidents.ts'
import { ManualClock } from '../manual-clock.ts'

function scene() {
  const clock = new ManualClock()
  const told: string[] = []
  let isAway = false
  const store = {
    openIncident: async ({ cause }: NewIncident, channels: readonly string[]) => {
      if (isAway) throw new S2Error('unavailable', 'away')
      told.push(`open ${cause} ${channels.join()}`)
      return true
    },
    closeIncident: async (cause: string) => {
      if (isAway) throw new S2Error('unavailable', 'away')
      told.push(`close ${cause}`)
      return true
    },
  }
  const incidents = new CredentialIncidents(store, { clock, log: recordingLog() })
  const setAway = (away: boolean): void => {
    isAway = away
  }
  return { clock, told, incidents, setAway }
}

test('what lasts is told once, and once that it is over; what a life before left open is closed', async () => {
  const { told, incidents } = scene()
  await incidents.toggle(ALTERED, false)
  await incidents.toggle(ALTERED, true)
  await incidents.toggle(ALTERED, true)
  await incidents.toggle(ALTERED, false)
  await incidents.toggle(ALTERED, false)
  assert.deepEqual(told, ['close credentials:altered', 'open credentials:altered *', 'close credentials:altered'])
})

test('what the store does not take is tried again', async () => {
  const { told, incidents, setAway } = scene()
  setAway(true)
  await incidents.toggle(ALTERED, true)
  setAway(false)
  await incidents.toggle(ALTERED, true)
  assert.deepEqual(told, ['open credentials:altered *'])
})

test('a remote that is away for a moment is no incident, one that stays away is', async () => {
  const { clock, told, incidents } = scene()
  await incidents.persists(REMOTE_AWAY, AWAY_MS)
  await clock.advance(599_000)
  await incidents.persists(REMOTE_AWAY, AWAY_MS)
  assert.deepEqual(told, [])
  await clock.advance(1_000)
  await incidents.persists(REMOTE_AWAY, AWAY_MS)
  assert.deepEqual(told, ['open credentials:remote *'])
})

test('names of foreign files are quoted, and not all are shown', () => {
  const { summary } = foreignFiles(Array.from({ length: 9 }, (_, index) => `credentials/${index}\n<!channel>`))
  assert.match(summary, /holds 9 files/)
  assert.ok(!summary.includes('\n'))
  assert.ok(!summary.includes('credentials/5'))
})

test('plain credentials of the version before are told with the words that bring the worker over', () => {
  const { summary } = plainCredentials([{ agent: 's2-worker-2', role: 'backend' }])
  assert.match(summary, /s2-worker-2 \(backend\).*s2 worker invite 2 --role backend here, and s2 worker join there/)
})
