import assert from 'node:assert/strict'
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { systemClock } from '#runtime/clock.ts'
import { type FolderWatch, type Means, watchesInForce, watchFolder } from '#runtime/folder-watch.ts'
import { recordingLog } from '#runtime/log.ts'
import { runCommand } from '#runtime/run-command.ts'
import { without } from '../../native.ts'
import { PATIENCE_MS, until } from '../../until.ts'

const skip = without('node-inotify')
/** The best there is on this machine. */
const best: Means = skip === false ? 'inotify' : 'fs.watch'
const base = mkdtempSync(join(tmpdir(), 's2-watch-'))
after(() => rmSync(base, { recursive: true, force: true }))

/** A watch whose tidings can be waited for. */
class Scene implements Disposable {
  readonly names = new Set<string>()
  readonly doubts: string[] = []
  readonly log = recordingLog(() => this.#check())
  readonly folder: string
  readonly watch: FolderWatch
  #waiting: (() => void)[] = []

  constructor(folder: string, means?: Means, onEvents: (names: readonly string[]) => void = () => undefined) {
    this.folder = folder
    this.watch = watchFolder(
      folder,
      {
        onEvents: (names) => {
          for (const name of names) this.names.add(name)
          onEvents(names)
          this.#check()
        },
        onDoubt: (reason) => {
          this.doubts.push(reason)
          this.#check()
        },
      },
      { clock: systemClock, log: this.log, ...(means === undefined ? {} : { means }) },
    )
  }

  async until(what: () => boolean): Promise<void> {
    while (!what()) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  heard(name: string): Promise<void> {
    return this.until(() => this.names.has(name))
  }

  #check(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  [Symbol.dispose](): void {
    this.watch[Symbol.dispose]()
  }
}

function folder(name: string): string {
  const path = join(base, name)
  mkdirSync(path)
  return path
}

for (const means of ['inotify', 'fs.watch'] as const) {
  describe(means, { skip: means === 'inotify' && skip }, () => {
    const place = (name: string): string => join(base, `${name}-${means}`)

    test('tells what was made, written, moved and removed', async () => {
      using scene = new Scene(folder(`plain-${means}`), means)
      assert.equal(scene.watch.means, means)
      writeFileSync(join(scene.folder, 'one'), 'x')
      renameSync(join(scene.folder, 'one'), join(scene.folder, 'two'))
      await scene.heard('two')
      assert.ok(scene.names.has('one'))
      scene.names.clear()
      const file = openSync(join(scene.folder, 'two'), 'r+')
      writeSync(file, '.', 0)
      await scene.heard('two')
      closeSync(file)
      scene.names.clear()
      rmSync(join(scene.folder, 'two'))
      await scene.heard('two')
      assert.deepEqual(scene.doubts, [])
    })

    test('a folder that is not there yet is waited for', async () => {
      using scene = new Scene(place('late'), means)
      assert.equal(scene.watch.means, 'none')
      await scene.until(() => scene.log.records.some(({ event }) => event.includes('waiting for it')))
      await systemClock.sleep(20) // past the look that its making began with
      mkdirSync(place('late'))
      await scene.until(() => scene.doubts.includes('rewatched'))
      assert.equal(scene.watch.means, means)
      writeFileSync(join(scene.folder, 'a'), '')
      await scene.heard('a')
    })

    test('a folder that was removed and made anew is watched again', async () => {
      using scene = new Scene(folder(`anew-${means}`), means)
      for (const name of ['first', 'second']) {
        scene.doubts.length = 0
        rmSync(scene.folder, { recursive: true })
        mkdirSync(scene.folder)
        await scene.until(() => scene.doubts.includes('rewatched'))
        writeFileSync(join(scene.folder, name), '')
        await scene.heard(name)
      }
    })

    test('a folder that was renamed is left, and the one that bears its name is watched', async () => {
      using scene = new Scene(folder(`renamed-${means}`), means)
      renameSync(scene.folder, `${scene.folder}.old`)
      mkdirSync(scene.folder)
      await scene.until(() => scene.doubts.includes('rewatched'))
      writeFileSync(join(`${scene.folder}.old`, 'wrong'), '')
      writeFileSync(join(scene.folder, 'right'), '')
      await scene.heard('right')
      assert.ok(!scene.names.has('wrong'))
    })

    test('it is noticed that an ancestor was renamed, which the kernel tells nobody', async () => {
      mkdirSync(join(place('above'), 'below'), { recursive: true })
      using scene = new Scene(join(place('above'), 'below'), means)
      await systemClock.sleep(20) // past the look that its making began with
      renameSync(place('above'), `${place('above')}.old`)
      mkdirSync(join(place('above'), 'below'), { recursive: true })
      await scene.until(() => scene.doubts.includes('rewatched'))
      writeFileSync(join(scene.folder, 'a'), '')
      await scene.heard('a')
    })

    test('two may watch one folder, and one may leave inside its own event', async () => {
      const path = folder(`shared-${means}`)
      const first: Scene = new Scene(path, means, () => {
        first[Symbol.dispose]()
        first[Symbol.dispose]()
        openSync('/dev/null', 'r') // takes the number of whatever was closed too early
      })
      using second = new Scene(path, means)
      writeFileSync(join(path, 'a'), '')
      await Promise.all([first.heard('a'), second.heard('a')])
      writeFileSync(join(path, 'b'), '')
      await second.heard('b')
      assert.ok(!first.names.has('b'))
    })
  })
}

test('what was told is not told after the end, and nothing keeps the process alive', async () => {
  const code = `
    import { watchFolder } from '#runtime/folder-watch.ts'
    import { systemClock } from '#runtime/clock.ts'
    import { recordingLog } from '#runtime/log.ts'
    import { writeFileSync } from 'node:fs'
    const ears = { onEvents: () => console.log('told'), onDoubt: () => console.log('told') }
    const watches = [1, 2].map(() => watchFolder(process.argv[1], ears, { clock: systemClock, log: recordingLog() }))
    writeFileSync(process.argv[1] + '/x', '')
    for (const each of watches) each[Symbol.dispose]()`
  const path = folder('ended')
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module-typescript', '-e', code, path])
  assert.equal(stdout, '')
})

/** Writes so often into files of a folder, from another process. Our event loop stands still meanwhile: nobody reads the queue. */
function storm(path: string, count: number): void {
  const code = `import os,sys
files = [os.open(f"{sys.argv[1]}/x{i}", os.O_CREAT | os.O_WRONLY) for i in range(50)]
for i in range(int(sys.argv[2])):
    os.pwrite(files[i % 50], b".", 0)`
  const { status, stderr } = spawnSync('python3', ['-c', code, path, String(count)])
  assert.equal(status, 0, String(stderr))
}

test('an overflow of the kernel queue is told as doubt, and hearing goes on', { skip }, async () => {
  using scene = new Scene(folder('overflow'))
  const code =
    'import sys\nfor i in range(12000):\n  open(f"{sys.argv[1]}/n{i}","w").close()\n  __import__("os").unlink(f"{sys.argv[1]}/n{i}")'
  const blocked = spawnSync('python3', ['-c', code, scene.folder]) // our event loop stands still: nobody reads the queue
  assert.equal(blocked.status, 0, String(blocked.stderr))
  await scene.until(() => scene.doubts.includes('overflow'))
  await scene.until(() => scene.watch.means === 'inotify')
  await systemClock.sleep(60) // past the rest after the flood
  writeFileSync(join(scene.folder, 'after'), '')
  await scene.until(() => scene.names.has('after') || scene.doubts.includes('rewatched'))
  scene.names.clear()
  writeFileSync(join(scene.folder, 'later'), '')
  await scene.heard('later')
})

test('a flood ends the reading, so that the event loop goes on, and is told as doubt', { skip }, async () => {
  using scene = new Scene(folder('flood'))
  // Fewer than the kernel's queue holds (max_queued_events is 16,384): without the end, all would be read and nothing doubted.
  storm(scene.folder, 8_000)
  writeFileSync(join(scene.folder, 'last'), '')
  await scene.until(() => scene.doubts.length > 0 || scene.names.has('last'))
  assert.deepEqual(scene.doubts, ['overflow'])
  await until('it hears again', () => {
    writeFileSync(join(scene.folder, 'after'), '')
    return scene.names.has('after')
  })
})

test('commands do not inherit the descriptor', { skip }, async () => {
  using _scene = new Scene(folder('children'))
  const list = ['/bin/sh', '-c', 'ls -l /proc/self/fd'] as const
  const { stdout } = await runCommand(
    { argv: list, env: { PATH: process.env.PATH }, timeoutMs: PATIENCE_MS, outputMax: 10_000, beyond: 'keep_tail' },
    systemClock,
  )
  assert.match(String(stdout), /\/dev\/null/)
  assert.doesNotMatch(String(stdout), /inotify/)
})

test('every watch in force can be listed', () => {
  const before = watchesInForce().length
  const scene = new Scene(folder('listed'))
  assert.deepEqual(
    watchesInForce().map((each) => each.means),
    [...Array(before).fill(best), best],
  )
  scene[Symbol.dispose]()
  assert.equal(watchesInForce().length, before)
})

/** Runs code in a user namespace whose limits on inotify are set; answers what it prints. */
async function limited(limits: Record<string, number>, code: string, path: string): Promise<string | null> {
  const set = Object.entries(limits).map(([name, value]) => `echo ${value} > /proc/sys/user/${name}`)
  const script = `${set.join(' && ')} || exit 77; exec "$@"`
  const node = [process.execPath, '--input-type=module-typescript', '-e', code, path]
  const child = spawn('unshare', ['--user', '--map-root-user', 'sh', '-c', script, 'sh', ...node])
  let out = ''
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  child.stderr.pipe(process.stderr)
  const code_ = await Promise.race([
    once(child, 'close').then(([status]) => status),
    once(child, 'error').then(() => 77),
  ])
  if (code_ === 77 || code_ === 1) return null // no such namespaces here
  assert.equal(code_, 0, out)
  return out
}

const SAY_MEANS = `
  import { watchFolder } from '#runtime/folder-watch.ts'
  import { systemClock } from '#runtime/clock.ts'
  import { recordingLog } from '#runtime/log.ts'
  const log = recordingLog()
  using one = watchFolder(process.argv[1], { onEvents: () => undefined, onDoubt: () => undefined }, { clock: systemClock, log })
  console.log(one.means, log.records.map(({ level, fields }) => level + ' ' + fields.why).join())`

for (const [title, limits, expected] of [
  [
    'with no instance left only polls remain, and the log says so',
    { max_inotify_instances: 0 },
    /^none warn inotify: refused.*instances.*fs\.watch: EMFILE/,
  ],
  ['one instance is enough', { max_inotify_instances: 1 }, /^inotify\s*$/],
  [
    'with no watch left only polls remain, and the log says so',
    { max_inotify_watches: 0 },
    /^none warn inotify: .*fs\.watch: ENOSPC/,
  ],
] as const) {
  test(title, { skip }, async (t) => {
    const said = await limited(limits, SAY_MEANS, folder(`limited-${Object.keys(limits)}-${Object.values(limits)}`))
    if (said === null) return t.skip('no user namespaces here')
    assert.match(said, expected)
  })
}

test('without the native module Node’s own watcher is used', async () => {
  const path = folder('without')
  const refuse = `import { Module } from 'node:module'
    const load = Module._load
    Module._load = function (name, ...rest) {
      if (name === 'node-inotify') throw new Error('not built')
      return load.call(this, name, ...rest)
    }`
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...['--import', `data:text/javascript,${encodeURIComponent(refuse)}`],
    ...['--input-type=module-typescript', '-e', SAY_MEANS, path],
  ])
  assert.match(stdout, /^fs\.watch warn inotify: not built/)
})

test('a file in place of a folder is no folder', async () => {
  const path = join(base, 'file')
  writeFileSync(path, '')
  using scene = new Scene(path)
  assert.equal(scene.watch.means, 'none')
  rmSync(path)
  mkdirSync(path)
  await scene.until(() => scene.watch.means === best)
  rmdirSync(path)
})
