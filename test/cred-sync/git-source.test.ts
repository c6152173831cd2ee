/** What is found in a remote, by a mirror that holds what the test puts there. */
import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import type { HostIdentity } from '#identity/identity-file.ts'
import { GitSource } from '../../services/cred-sync/git-source.ts'
import { ManualClock } from '../manual-clock.ts'
import { makeFleet, published, type TestFleet, WALL } from './remote.ts'

let fleet: TestFleet
before(async () => {
  fleet = await makeFleet()
})

class Scene {
  readonly clock = new ManualClock()
  commit = 'one'
  files: Readonly<Record<string, string>> = {}
  /** The commits that were fetched. */
  readonly fetched: string[] = []
  readonly source = new GitSource({
    clock: Object.assign(this.clock, { wall: () => WALL }),
    mirror: {
      tip: async () => this.commit,
      fetch: async (tip) => {
        this.fetched.push(tip)
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
