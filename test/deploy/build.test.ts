/** Builds that happen at once, or while what they build is started, or that are killed. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  cpSync,
  globSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { lockFolder } from '../../deploy/lock.ts'

const ROOT = join(import.meta.dirname, '../..')

/** A checkout of its own, as far as building goes. */
class Checkout implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 's2 build-'))

  constructor() {
    for (const part of ['services', 'deploy', 'package.json']) {
      cpSync(join(ROOT, part), join(this.folder, part), { recursive: true })
    }
    symlinkSync(join(ROOT, 'node_modules'), join(this.folder, 'node_modules'))
  }

  /** Lets the next build make other chunks than the last one. */
  change(): void {
    for (const file of ['fleet/redact.ts', 'runtime/settings.ts', 'store/open.ts']) {
      appendFileSync(join(this.folder, 'services/core', file), `\nglobalThis.name${Date.now()} = '${'x'.repeat(9)}'\n`)
    }
  }

  build(): ChildProcess {
    return spawn(process.execPath, ['deploy/bundle.ts'], { cwd: this.folder, stdio: ['ignore', 'ignore', 'inherit'] })
  }

  /** Starts what is there; answers what it complained of. */
  async start(): Promise<string> {
    const env = { ...process.env, S2_STATE: join(this.folder, 'state') }
    return await new Promise((resolve) => {
      execFile(process.execPath, ['dist/s2.js', 'config'], { cwd: this.folder, env }, (error) =>
        resolve(error === null ? '' : error.message),
      )
    })
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** Tells of names that come and go in a folder, until disposed. */
function seen(folder: string, tell: (name: string | null) => unknown): Disposable {
  const watcher = watch(folder, (_, name) => tell(name))
  return { [Symbol.dispose]: () => watcher.close() }
}

async function ended(child: ChildProcess): Promise<number | null> {
  return (await once(child, 'exit'))[0]
}

test('a folder is locked by one at a time, and free when whoever has it is killed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 's2-lock-'))
  const first = await lockFolder(folder)
  const order: string[] = []
  const waiting = ['second', 'third'].map(async (who) => {
    await using _lock = await lockFolder(folder)
    order.push(who)
    const { length } = order
    await sleep(30)
    assert.equal(order.length, length, 'nobody else got in meanwhile')
  })
  await sleep(50)
  assert.deepEqual(order, [])
  await first[Symbol.asyncDispose]()
  await Promise.all(waiting)
  assert.deepEqual(order.sort(), ['second', 'third'])

  const script = `import { lockFolder } from ${JSON.stringify(join(ROOT, 'deploy/lock.ts'))}
    await lockFolder(${JSON.stringify(folder)})
    console.log('has it')`
  const holder = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  assert.ok(holder.stdout)
  await once(holder.stdout, 'data')
  const next = lockFolder(folder)
  assert.equal(await Promise.race([next.then(() => 'got'), sleep(100, 'waits')]), 'waits')
  holder.kill('SIGKILL')
  await (await next)[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

test('builds at once end well, and whoever starts meanwhile finds a whole program', async () => {
  using checkout = new Checkout()
  assert.equal(await ended(checkout.build()), 0)
  const dist = join(checkout.folder, 'dist')
  const chunks = (): string[] => globSync('*.js', { cwd: dist }).sort()
  const before = chunks()
  checkout.change()
  const gone: string[] = []
  using _watch = seen(dist, (name) => name === 'migrations' && gone.push(name))
  const builds = Promise.all([checkout.build(), checkout.build()].map(ended))
  let isOver = false
  const over = builds.finally(() => {
    isOver = true
  })
  let starts = 0
  while (!isOver) {
    assert.equal(await checkout.start(), '')
    starts += 1
  }
  assert.deepEqual(await over, [0, 0])
  assert.deepEqual(gone, [], 'what programs read while they start is there all the time')
  assert.ok(starts > 0, 'none started meanwhile')
  assert.notDeepEqual(chunks(), before, 'another build has other chunks')
  assert.equal(before.filter((name) => !chunks().includes(name)).length > 0, true, 'old ones are gone')

  // Killed at any moment it leaves what works, and the next one builds.
  for (const afterMs of [150, 500, 900]) {
    checkout.change()
    const killed = checkout.build()
    await sleep(afterMs)
    killed.kill('SIGKILL')
    await ended(killed)
    assert.equal(await checkout.start(), '')
  }
  const beganAt = Date.now()
  assert.equal(await ended(checkout.build()), 0)
  assert.equal(await checkout.start(), '')
  assert.ok(statSync(join(dist, '.stamp')).mtimeMs >= beganAt - 1_000)
  assert.deepEqual(globSync('**/*.part', { cwd: dist }), [])
})

test('a program says which Node it needs before an older one fails in it', async () => {
  using checkout = new Checkout()
  assert.equal(await ended(checkout.build()), 0)
  const older = join(checkout.folder, 'older.cjs')
  writeFileSync(older, "Object.defineProperty(process.versions, 'node', { value: '20.20.2' })")
  for (const program of ['s2', 'bridge', 'keepalive']) {
    const said = await new Promise<{ code: unknown; err: string }>((resolve) => {
      execFile(
        process.execPath,
        ['--require', older, `dist/${program}.js`],
        { cwd: checkout.folder },
        (error, _, err) => resolve({ code: error?.code, err }),
      )
    })
    assert.equal(said.code, 78)
    assert.match(said.err, /^s2: Node\.js 24 or later is needed, .*\n {2}next: /)
  }
})
