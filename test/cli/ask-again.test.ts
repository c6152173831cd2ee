/** A command whose outcome nobody knows, said again. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import { partnerOf, type SessionId } from '#fleet/session-id.ts'
import { processStat } from '#runtime/process-stat.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Store } from '#store/store.ts'
import { Ground } from '../bridge/ground.ts'
import { stateOf } from '../process-state.ts'
import { until } from '../until.ts'
import { run } from './run-command.ts'

/** How many verbs that write are done without an answer. */
class Losses {
  left = 0

  async after<T>(done: Promise<T>): Promise<T> {
    const answer = await done
    if (this.left === 0) return answer
    this.left -= 1
    throw new S2Error('unknown_outcome', 'the commit may have happened')
  }
}

/** A bridge that does what it is asked, and then loses the answer so many times. */
async function scene() {
  const losses = new Losses()
  const openStore = async (parts: Parameters<typeof openMemoryStore>[0]): Promise<Store> => {
    const store = openMemoryStore(parts)
    const { send, addTask } = { send: store.send.bind(store), addTask: store.addTask.bind(store) }
    store.send = (...args) => losses.after(send(...args))
    store.addTask = (...args) => losses.after(addTask(...args))
    return store
  }
  const ground = await Ground.open({}, { openStore })
  const { id } = await ground.store.openConversation({
    roles: { a: 'orchestrator', b: 'tests' },
    agents: { a: 'orchestrator', b: 's2-worker-1' },
    lifetimeMs: 3_600_000,
  })
  const worker: SessionId = `${id}/b`
  const state = mkdtempSync(join(tmpdir(), 's2-again-'))
  return {
    state,
    losses,
    store: ground.store,
    s2: async (...argv: string[]) => await run(argv, { env: { S2_STATE: state, S2_STORE: ground.admin } }),
    /** The same where standard output takes nothing. */
    unheard: async (...argv: string[]) =>
      await run(argv, { env: { S2_STATE: state, S2_STORE: ground.admin }, flush: async () => false }),
    mail: async () => (await ground.store.unacked(worker, 0, 100)).map(({ text }) => text),
    sender: partnerOf(worker),
    [Symbol.asyncDispose]: async () => {
      rmSync(state, { recursive: true })
      await ground[Symbol.asyncDispose]()
    },
  }
}

test('a send of unknown outcome is the same send when it is said again, and it tells that it had come', async () => {
  await using it = await scene()
  it.losses.left = 3
  const lost = await it.s2('send', 's2-worker-1', 'look at issue 12')
  assert.equal(lost.code, 1)
  assert.match(lost.err, /next: say the same again, or add --key s2-send-\w+: it is not done twice\n/)
  await new Promise((resolve) => setTimeout(resolve, 1_100))
  const again = await it.s2('send', 's2-worker-1', 'look at issue 12')
  assert.match(
    again.out,
    /came into the store \d.* ago, by an earlier try \(key s2-send-\w+\): it was not sent again\n$/,
  )
  assert.deepEqual(await it.mail(), ['look at issue 12'])
  assert.deepEqual(readdirSync(join(it.state, 'asked')), [], 'its outcome is known')
  const third = await it.s2('send', 's2-worker-1', 'look at issue 12')
  assert.match(third.out, /^queued: message \d+ to s2-worker-1 is in the store \(key s2-send-\w+\)/)
  assert.equal((await it.mail()).length, 2, 'said after an answer it is another message')
})

test('another text, and the same to another, are requests of their own', async () => {
  await using it = await scene()
  it.losses.left = 3
  await it.s2('send', 's2-worker-1', 'one')
  await it.s2('send', 's2-worker-1', 'two')
  assert.deepEqual(await it.mail(), ['one', 'two'])
})

test('a refusal is an outcome: nothing is kept of it', async () => {
  await using it = await scene()
  const refused = await it.s2('send', '--from', 'conv_ffffffffffffffff/a', 'x', 'hello')
  assert.equal(refused.code, 1)
  assert.deepEqual(readdirSync(join(it.state, 'asked')), [])
})

test('two of the same at once are two, and what a command left that was killed is taken over', async () => {
  await using it = await scene()
  const both = await Promise.all([it.s2('send', 's2-worker-1', 'hi'), it.s2('send', 's2-worker-1', 'hi')])
  assert.deepEqual(
    both.map(({ code }) => code),
    [0, 0],
  )
  assert.deepEqual(await it.mail(), ['hi', 'hi'])
  it.losses.left = 3
  await it.s2('send', 's2-worker-1', 'hi')
  const folder = join(it.state, 'asked')
  const [name = ''] = readdirSync(folder)
  const killed = name.replace(/open-/, '4194304-1-') // no pid is as high (proc_sys_kernel(5), pid_max)
  rmSync(join(folder, name))
  writeFileSync(join(folder, killed), '"the key of the killed one"\n')
  const again = await it.s2('send', 's2-worker-1', 'hi', '--json')
  assert.equal((JSON.parse(again.out) as { key: string }).key, 'the key of the killed one')
})

test('what a command left that was killed is taken over before its parent has asked how it ended', async () => {
  await using it = await scene()
  it.losses.left = 3
  await it.s2('send', 's2-worker-1', 'hi')
  const folder = join(it.state, 'asked')
  const [name = ''] = readdirSync(folder)
  const lines = 'cat <&3 >/dev/null & echo $!; exec sleep 600'
  const parent = spawn('sh', ['-c', lines], { stdio: ['ignore', 'pipe', 'ignore', 'pipe'] })
  try {
    const [line] = (await once(parent.stdout as Readable, 'data')) as [Buffer]
    const zombie = Number(line)
    const isSleep = (): boolean => readFileSync(`/proc/${parent.pid}/comm`, 'utf8') === 'sleep\n'
    await until('its parent asks no more how it ends', isSleep)
    ;(parent.stdio[3] as Writable).end()
    await until('it has ended', () => stateOf(zombie) === 'Z')
    const asker = `${zombie}-${processStat(zombie)?.startedAt}-`
    renameSync(join(folder, name), join(folder, name.replace(/open-/, asker)))
    await it.s2('send', 's2-worker-1', 'hi')
    assert.deepEqual(await it.mail(), ['hi'])
  } finally {
    parent.kill('SIGKILL')
  }
})

test('a task of unknown outcome is the same task when it is said again, with the deadline that it had', async () => {
  await using it = await scene()
  it.losses.left = 3
  const words = ['task', 'add', 'mend the tests', '--to', 's2-worker-1', '--deadline', '2h'] as const
  const lost = await it.s2(...words)
  assert.match(lost.err, /next: say the same again, or add --id t-\w+: it is not done twice\n/)
  await new Promise((resolve) => setTimeout(resolve, 1_100))
  const again = await it.s2(...words)
  assert.match(again.out, /^t-\w+ was added \d.* ago by an earlier try: it is assigned: \S+ has it\n$/)
  assert.equal((await it.store.tasks({ open: true })).length, 1)
})

test('where nothing can be kept the key is told all the same', async () => {
  await using it = await scene()
  mkdirSync(it.state, { recursive: true })
  writeFileSync(join(it.state, 'asked'), 'in the way')
  it.losses.left = 3
  const lost = await it.s2('send', 's2-worker-1', 'hello')
  assert.match(lost.err, /next: say it again with --key s2-send-\w+: it is not done twice\n/)
})

test('an answer that could not be written was not told: the same command does nothing twice', async () => {
  await using it = await scene()
  const unheard = await it.unheard('send', 's2-worker-1', 'into a full disk')
  assert.match(unheard.err, /is done\n {2}next: say the same again, or add --key s2-send-\w+: it is not done twice\n/)
  const again = await it.s2('send', 's2-worker-1', 'into a full disk')
  assert.equal(again.code, 0, again.err)
  await it.unheard('task', 'add', 'do it', '--to', 's2-worker-1')
  const added = await it.s2('task', 'add', 'do it', '--to', 's2-worker-1')
  assert.equal(added.code, 0, added.err)
  assert.equal((await it.mail()).filter((text) => text === 'into a full disk').length, 1)
  assert.equal((await it.store.tasks({})).length, 1)
  await it.s2('send', 's2-worker-1', 'into a full disk')
  assert.equal(
    (await it.mail()).filter((text) => text === 'into a full disk').length,
    2,
    'that was told, and this is another',
  )
})
