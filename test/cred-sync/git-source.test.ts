/** What is found in a remote, by a mirror that holds what the test puts there. */
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { type Code, S2Error } from '#fleet/errors.ts'
import type { HostIdentity } from '#identity/identity-file.ts'
import { MANIFEST_PATH } from '#identity/manifest.ts'
import { CLOCK_TOLERANCE_MS } from '#identity/sealed-credential.ts'
import { GitSource } from '../../services/cred-sync/git-source.ts'
import { ManualClock } from '../manual-clock.ts'
import { makeFleet, PATH_3, published, type TestFleet, WALL } from './remote.ts'

let fleet: TestFleet
before(async () => {
  fleet = await makeFleet()
})

class Scene {
  readonly clock = new ManualClock()
  commit: string | null = 'one'
  refusal: Code | null = null
  files: Readonly<Record<string, string>> = {}
  /** The commits that were fetched. */
  readonly fetched: string[] = []
  readonly source = new GitSource({
    clock: Object.assign(this.clock, { wall: () => WALL }),
    mirror: {
      tip: async () => this.commit,
      fetch: async (tip) => {
        this.fetched.push(tip)
        if (this.refusal !== null) throw new S2Error(this.refusal, this.refusal)
        return tip
      },
      file: async (_commit, path) => {
        const content = this.files[path]
        return content === undefined ? null : Buffer.from(content)
      },
    },
  })

  async find(heldSerial: number, identity: HostIdentity = fleet.host): Promise<number | null> {
    return (await this.source.find({ identity, heldSerial }))?.createdAt ?? null
  }
}

test('a commit is looked into once what it had is in force, and anew where that is gone', async () => {
  const scene = new Scene()
  scene.files = await published(fleet)
  assert.equal(await scene.find(0), WALL)
  assert.equal(await scene.find(WALL), null)
  assert.equal(await scene.find(WALL + 1), null, 'a newer one came from elsewhere')
  assert.equal(scene.fetched.length, 1)
  assert.equal(await scene.find(0), WALL)
  scene.commit = 'two'
  assert.equal(await scene.find(WALL), WALL)
})

test('what was found and could not be put in force is found again, though the remote has not changed', async () => {
  const scene = new Scene()
  scene.files = await published(fleet)
  assert.equal(await scene.find(WALL - 1), WALL)
  assert.equal(await scene.find(WALL - 1), WALL)
})

test('what was found for the keys of before is not what a host with new keys has seen', async () => {
  const scene = new Scene()
  scene.files = await published(fleet)
  await scene.find(0)
  await assert.rejects(scene.find(WALL, fleet.stranger), {
    code: 'not_found',
    message: /none for the key of this host/,
  })
})

test('a remote without the branch, its list, or a file that the list names has no credential', async () => {
  const scene = new Scene()
  const whole = await published(fleet)
  const { [MANIFEST_PATH]: list = '', [PATH_3]: file = '' } = whole
  for (const [files, message] of [
    [{ [PATH_3]: file }, /has no credentials\/manifest\.json/],
    [{ [MANIFEST_PATH]: list }, /lacks credentials\/s2-worker-3-credentials\.json, which its list names/],
  ] as const) {
    scene.files = files
    await assert.rejects(scene.find(0), { code: 'not_found', message })
  }
  scene.files = whole
  scene.commit = null
  await assert.rejects(scene.find(0), { code: 'not_found', message: /no such branch/ })
  scene.commit = 'one'
  assert.equal(await scene.find(0), WALL, 'what was wrong is looked for again')
})

test('a file that is not the listed one is refused, though it is signed, and so is a list that another key signed', async () => {
  const scene = new Scene()
  const whole = await published(fleet)
  scene.files = { ...whole, [PATH_3]: (await published(fleet))[PATH_3] ?? '' }
  const refusal = { code: 'unauthenticated', message: /is not the file that the list of credentials names/ }
  await assert.rejects(scene.find(0), refusal)
  scene.files = await published(fleet, {}, { signer: fleet.stranger })
  await assert.rejects(scene.find(0), { code: 'unauthenticated', message: /not signed by the orchestrator/ })
})

test('no list goes back, and none lies further ahead than clocks differ', async () => {
  const scene = new Scene()
  const put = async (serial: number): Promise<void> => {
    scene.files = await published(fleet, {}, { serial })
  }
  const odd = { code: 'conflict', message: /is too old or in the future/ }
  await put(WALL + CLOCK_TOLERANCE_MS + 1)
  await assert.rejects(scene.find(0), odd)
  await put(WALL + CLOCK_TOLERANCE_MS)
  assert.equal(await scene.find(0), WALL)
  assert.equal(await scene.find(0), WALL, 'the same list is no step back')
  await put(WALL + CLOCK_TOLERANCE_MS - 1)
  await assert.rejects(scene.find(0), odd)
})

test('a commit that was refused for its size or form is not fetched again for ten minutes; another is', async () => {
  for (const code of ['too_large', 'invalid'] as const) {
    const scene = new Scene()
    scene.files = await published(fleet)
    scene.refusal = code
    await assert.rejects(scene.find(0), { code })
    scene.clock.pause(599_999)
    await assert.rejects(scene.find(0), { code })
    assert.equal(scene.fetched.length, 1)
    scene.commit = 'two'
    await assert.rejects(scene.find(0), { code })
    assert.deepEqual(scene.fetched, ['one', 'two'])
    scene.refusal = null
    scene.clock.pause(600_000)
    assert.equal(await scene.find(0), WALL)
  }
  const scene = new Scene()
  scene.refusal = 'unavailable'
  for (let again = 0; again < 2; again += 1) await assert.rejects(scene.find(0), { code: 'unavailable' })
  assert.equal(scene.fetched.length, 2, 'what may pass by itself is asked for again')
})
