import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { deflateSync } from 'node:zlib'
import { GitMirror } from '#git/git-mirror.ts'
import { MANIFEST_PATH } from '#identity/manifest.ts'
import { systemClock } from '#runtime/clock.ts'
import { GitSource } from '../../services/cred-sync/git-source.ts'
import { PATIENCE_MS } from '../until.ts'
import { commit, object, Pack, type PlainObject, type TreeEntry, tree } from './hostile-pack.ts'
import { HostileServer, type Script } from './hostile-server.ts'
import { makeFleet, PATH_3, published, type TestFleet, WALL } from './remote.ts'

const MB = 1_048_576
const folder = mkdtempSync(join(tmpdir(), 's2-hostile-remote-'))
after(() => rmSync(folder, { recursive: true, force: true }))
let fleet: TestFleet
before(async () => {
  fleet = await makeFleet()
})

let mirrors = 0

/** What a host finds at a server, and the folder of its mirror. */
function host(remote: string, path = process.env.PATH) {
  mirrors += 1
  const clock = { ...systemClock, wall: () => WALL }
  const mirror = join(folder, `mirror-${mirrors}`)
  const config = { folder: mirror, remote, branch: 'main', timeoutMs: PATIENCE_MS }
  const source = new GitSource({ mirror: new GitMirror(config, { clock, env: { PATH: path, HOME: folder } }), clock })
  return { mirror, find: () => source.find({ identity: fleet.host, heldSerial: 0 }) }
}

/** A branch with good credentials in it, and whatever else. */
async function branch(more: (pack: Pack) => readonly TreeEntry[] = () => []): Promise<Script> {
  const files = await published(fleet)
  const pack = new Pack()
  const put = (each: PlainObject): string => {
    pack.add(each)
    return each.id
  }
  const blobs = [MANIFEST_PATH, PATH_3].map(
    (path): TreeEntry => ['100644', path.slice('credentials/'.length), put(object('blob', files[path] ?? ''))],
  )
  const top: TreeEntry[] = [...more(pack), ['40000', 'credentials', put(tree(blobs))]]
  const tip = put(commit(put(tree(top.sort(([, one], [, other]) => (one < other ? -1 : 1))))))
  return { tip, pack: pack.bytes() }
}

function bytesIn(path: string): number {
  const entries = readdirSync(path, { recursive: true, withFileTypes: true })
  return entries.reduce((sum, each) => sum + statSync(join(each.parentPath, each.name)).size, 0)
}

test('a server that is honest is believed', async () => {
  await using server = await HostileServer.start(await branch())
  assert.equal((await host(server.url).find())?.agent, 's2-worker-3')
})

test('whatever lies beside the credentials, without being too much, is not looked at', async () => {
  const bomb = (pack: Pack): TreeEntry[] => {
    let inner = object('blob', 'x')
    pack.add(inner)
    for (let level = 0; level < 10; level += 1) {
      const mode = level === 0 ? '100644' : '40000'
      inner = tree(Array.from({ length: 10 }, (_, index): TreeEntry => [mode, `${index}`, inner.id]))
      pack.add(inner)
    }
    const link = object('blob', '../../../etc/passwd')
    pack.add(link)
    return [
      ['40000', 'a-bomb', inner.id],
      ['120000', 'a-link', link.id],
      ['160000', 'a-submodule', '1'.repeat(40)],
    ]
  }
  await using server = await HostileServer.start(await branch(bomb))
  assert.equal((await host(server.url).find())?.agent, 's2-worker-3')
})

test('a few kilobytes that stand for hundreds of megabytes are refused, and not fetched again', async () => {
  const script = await branch((pack) => {
    const zeros = Buffer.alloc(15 * MB)
    pack.addCopies(pack.add({ kind: 'blob', content: zeros }), zeros.length, 27)
    return []
  })
  assert.ok((script.pack?.length ?? 0) < 100_000)
  await using server = await HostileServer.start(script)
  const { find } = host(server.url)
  await assert.rejects(find(), { code: 'too_large', message: /the remote holds more than S2 takes/ })
  await assert.rejects(find(), { code: 'too_large' })
  assert.equal(server.fetches, 1)
  server.script = await branch()
  assert.equal((await find())?.agent, 's2-worker-3', 'a change for the better is followed')
})

test('packs that are too large fill no disk, however many come', async () => {
  const content = randomBytes(66 * MB)
  const large = { kind: 'blob', size: content.length, deflated: deflateSync(content, { level: 0 }) } as const
  const named = (name: string) =>
    branch((pack) => {
      pack.addDeflated(large)
      return [['100644', name, object('blob', '').id]]
    })
  await using server = await HostileServer.start(await named('a'))
  const { find, mirror } = host(server.url)
  for (const name of ['a', 'b']) {
    server.script = await named(name)
    await assert.rejects(find(), { code: 'too_large' })
  }
  assert.ok(bytesIn(mirror) < 100 * MB, `${Math.round(bytesIn(mirror) / MB)} MB are left`)
})

test('names that lead out of a folder or into one of git’s are refused', async (t) => {
  const empty = object('blob', '')
  for (const name of ['..', '.git', '.GIT', 'git~1']) {
    await t.test(name, async () => {
      await using server = await HostileServer.start(
        await branch((pack) => {
          pack.add(empty)
          return [['100644', name, empty.id]]
        }),
      )
      await assert.rejects(host(server.url).find(), { code: 'invalid' })
    })
  }
})

test('who talks without end is not listened to', async (t) => {
  const script = await branch()
  await t.test('of refs', async () => {
    const line = `${script.tip} refs/heads/${'x'.repeat(200)}`
    await using server = await HostileServer.start({
      ...script,
      refs: async (answer) => {
        for (let from = 0; ; from += 1_000)
          await answer.lines(Array.from({ length: 1_000 }, (_, index) => `${line}${from + index}\n`))
      },
    })
    await assert.rejects(host(server.url).find(), { code: 'too_large' })
  })
  await t.test('of its progress', async () => {
    const words = Buffer.from('counting: 50%\r'.repeat(2_000))
    await using server = await HostileServer.start({
      ...script,
      fetch: async (answer) => {
        await answer.beginPack(script.tip)
        for (;;) await answer.band(2, words)
      },
    })
    await assert.rejects(host(server.url).find(), { code: 'too_large' })
  })
})

test('each git has bounds on its memory, its files, its time on a processor and its core', async () => {
  const bin = join(folder, 'bin')
  const seen = join(folder, 'limits')
  mkdirSync(bin)
  writeFileSync(
    join(bin, 'git'),
    `#!/bin/sh\nfor each in c f v; do ulimit -$each; done >${seen}\nulimit -S -t >>${seen}\n`,
  )
  chmodSync(join(bin, 'git'), 0o755)
  await assert.rejects(host('/nowhere', `${bin}:${process.env.PATH}`).find(), { code: 'not_found' })
  assert.deepEqual(readFileSync(seen, 'utf8').trim().split('\n'), ['0', '131072', '262144', '10'])
})
