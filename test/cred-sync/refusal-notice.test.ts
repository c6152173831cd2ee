import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { recordingLog } from '#runtime/log.ts'
import { RefusalNotice } from '../../services/cred-sync/refusal-notice.ts'
import { ManualClock } from '../manual-clock.ts'

const SESSION = 'conv_00000000000000aa/b'

function credentialOf(createdAt: number, expiresAt: number): Credential {
  const names = { agent: 's2-worker-3', role: 'tests', bridgeUrl: 'https://bridge.example.org' }
  return { session: SESSION, token: `token-${createdAt}`, ...names, createdAt, expiresAt }
}

function scene(held: readonly Credential[] = [credentialOf(1, Number.POSITIVE_INFINITY)]) {
  const clock = new ManualClock()
  const log = recordingLog()
  const told: (string | null)[] = []
  const speakers: string[] = []
  const world = { isAway: false, open: 0 }
  const notice = new RefusalNotice({
    clock,
    log,
    health: { trouble: () => undefined },
    signal: new AbortController().signal,
    held: async () => held,
    open: async ({ token }) => {
      world.open += 1
      return {
        noteRefusal: async (_session, why) => {
          if (world.isAway) throw new S2Error('unavailable', 'away')
          speakers.push(token)
          told.push(why)
        },
        [Symbol.asyncDispose]: async () => {
          world.open -= 1
        },
      }
    },
  })
  return { notice, told, speakers, world, clock, log }
}

const REFUSED = new S2Error('unauthenticated', 'it is wrong', { next: 'see who writes' })

test('what lasts is told once, what changes anew, and once that it is over', async () => {
  const { notice, told, world } = scene()
  for (let look = 0; look < 3; look += 1) await notice.tell(REFUSED)
  await notice.tell(new S2Error('conflict', 'it is old'))
  for (let look = 0; look < 3; look += 1) await notice.tell(null)
  assert.deepEqual(told, ['it is wrong; see who writes', 'it is old', null])
  assert.equal(world.open, 0, 'no connection is left open')
})

test('a new program takes back what the one before told', async () => {
  const { notice, told } = scene()
  await notice.tell(null)
  assert.deepEqual(told, [null])
})

test('what the bridge may have forgotten is told again: after ten minutes, and with a new credential', async () => {
  const held = [credentialOf(1, Number.POSITIVE_INFINITY)]
  const { notice, told, clock } = scene(held)
  await notice.tell(REFUSED)
  await clock.advance(599_000)
  await notice.tell(REFUSED)
  assert.equal(told.length, 1)
  await clock.advance(1_000)
  await notice.tell(REFUSED)
  assert.equal(told.length, 2)
  held[0] = credentialOf(2, Number.POSITIVE_INFINITY)
  await notice.tell(REFUSED)
  assert.equal(told.length, 3)
})

test('what the bridge does not take is told after the next look, and warned of once', async () => {
  const { notice, told, world, log } = scene()
  world.isAway = true
  for (let look = 0; look < 3; look += 1) await notice.tell(REFUSED)
  assert.equal(log.records.filter(({ level }) => level === 'warn').length, 1)
  world.isAway = false
  await notice.tell(REFUSED)
  assert.deepEqual(told, ['it is wrong; see who writes'])
})

test('the newest credential of a worker that counts speaks; without one nothing is said', async () => {
  const { clock } = scene()
  const now = clock.wall()
  const foreign = { ...credentialOf(9, now + 1), session: 'conv_00000000000000bb/a' } as const
  const { notice, speakers } = scene([
    credentialOf(1, now + 1),
    credentialOf(2, now + 1),
    credentialOf(3, now),
    foreign,
  ])
  await notice.tell(REFUSED)
  assert.deepEqual(speakers, ['token-2'])
  const ended = scene([credentialOf(3, now)])
  await ended.notice.tell(REFUSED)
  assert.deepEqual(ended.told, [])
})
