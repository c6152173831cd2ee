import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Credential } from '#fleet/credential.ts'
import { type Code, S2Error } from '#fleet/errors.ts'
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
  const told: (string | null)[] = []
  const speakers: string[] = []
  const world = { isAway: false, open: 0 }
  const notice = new RefusalNotice({
    clock,
    log: recordingLog(),
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
  return { notice, told, speakers, world, clock }
}

const refused = (code: Code = 'unauthenticated'): S2Error =>
  new S2Error(code, 'it is wrong', { next: 'see who writes' })

test('what lasts is told once, what changes anew, and once that it is over', async () => {
  const { notice, told, world } = scene()
  for (let look = 0; look < 3; look += 1) await notice.failed(refused())
  await notice.failed(new S2Error('conflict', 'it is old'))
  for (let look = 0; look < 3; look += 1) await notice.succeeded()
  assert.deepEqual(told, ['it is wrong; see who writes', 'it is old', null])
  assert.equal(world.open, 0, 'no connection is left open')
})

test('a new program takes back what the one before told', async () => {
  const { notice, told } = scene()
  await notice.succeeded()
  assert.deepEqual(told, [null])
})

test('what may pass by itself, is not there, or is our own fault, is no refusal', async () => {
  const { notice, told } = scene()
  for (const code of ['unavailable', 'rate_limited', 'not_found', 'internal'] as const)
    await notice.failed(refused(code))
  await notice.failed(new Error('a bug'))
  assert.deepEqual(told, [])
})

test('what the bridge does not take is told after the next look', async () => {
  const { notice, told, world } = scene()
  world.isAway = true
  await notice.failed(refused())
  world.isAway = false
  await notice.failed(refused())
  assert.deepEqual(told, ['it is wrong; see who writes'])
})

test('the newest credential that counts speaks; without one nothing is said', async () => {
  const { clock } = scene()
  const now = clock.wall()
  const { notice, speakers } = scene([credentialOf(1, now + 1), credentialOf(2, now + 1), credentialOf(3, now)])
  await notice.failed(refused())
  assert.deepEqual(speakers, ['token-2'])
  const ended = scene([credentialOf(3, now)])
  await ended.notice.failed(refused())
  assert.deepEqual(ended.told, [])
})
