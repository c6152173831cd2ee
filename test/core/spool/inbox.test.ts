import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { S2Error } from '#fleet/errors.ts'
import { TEXT_MAX } from '#fleet/message.ts'
import { AckedLedger, messageDigest } from '#spool/acked-ledger.ts'
import { bridgeId, Inbox, LANE } from '#spool/inbox.ts'
import { MESSAGE_FILE_MAX } from '#spool/message-file.ts'
import { letter, OTHER, READER, tempState } from './sample.ts'

test('a message goes from new to cur to done, is known on every shelf, and is remembered when forgotten', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  assert.equal(await inbox.put(letter(7)), true)
  const path = join(home.state, 'inbox/new/7.json')
  assert.deepEqual(JSON.parse(readFileSync(path, 'utf8')), letter(7))
  assert.equal(statSync(path).mode & 0o777, 0o600)

  for (const shelf of ['new', 'cur', 'done'] as const) {
    if (shelf === 'cur') assert.deepEqual(await inbox.take(5), [letter(7)])
    if (shelf === 'done') assert.deepEqual(await inbox.ack([7, 8]), [7])
    assert.deepEqual(await inbox.list(shelf), [7])
    assert.deepEqual(await new Inbox(home.state).putAll([letter(7)]), [{ id: 7, as: 'known' }])
    assert.deepEqual(await inbox.read(7), letter(7))
  }
  assert.deepEqual(await inbox.ack([7]), [])
  await inbox.forget([7])
  assert.equal(await inbox.read(7), null)
  for (const again of [inbox, new Inbox(home.state)]) {
    assert.deepEqual(await again.putAll([letter(7)]), [{ id: 7, as: 'acked' }])
    assert.deepEqual(await again.list('new'), [])
  }
})

test('many are brought in order, and one that comes twice in a group lies there once', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  const placed = await inbox.putAll([letter(10), letter(9), letter(10), letter(100)])
  assert.deepEqual(
    placed.map(({ as }) => as),
    ['new', 'new', 'known', 'new'],
  )
  assert.deepEqual(await inbox.list('new'), [9, 10, 100])
  assert.deepEqual(
    (await inbox.take(2)).map(({ id }) => id),
    [9, 10],
  )
  assert.deepEqual(readdirSync(join(home.state, 'inbox/tmp')), [])
})

test('messages of two bridges with one id both arrive, and neither is taken for the other later', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  const [one, other] = await Promise.all([
    inbox.putAll([letter(5, 'from one bridge')]),
    inbox.putAll([letter(5, 'from the other', OTHER)]),
  ])
  assert.deepEqual(one, [{ id: 5, as: 'new' }])
  assert.deepEqual(other, [{ id: 5 + LANE, as: 'new' }])
  assert.equal(bridgeId(5 + LANE), 5)
  const taken = await inbox.take(10)
  assert.deepEqual(
    taken.map(({ id, text }) => [id, text]),
    [
      [5, 'from one bridge'],
      [5 + LANE, 'from the other'],
    ],
  )
  await inbox.ack([5])
  await inbox.forget([5])
  // The name of the first is free again; the second must be found where it is, by a new life too.
  const next = new Inbox(home.state)
  assert.deepEqual(await next.putAll([letter(5, 'from the other', OTHER)]), [{ id: 5 + LANE, as: 'known' }])
  assert.deepEqual(await next.putAll([letter(5, 'from one bridge')]), [{ id: 5, as: 'acked' }])
  await next.ack([5 + LANE])
  await next.forget([5 + LANE])
  assert.deepEqual(await next.putAll([letter(5, 'from the other', OTHER)]), [{ id: 5, as: 'acked' }])
})

test('a number that a bridge uses again for another message hides nothing', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  await inbox.put(letter(3, 'before the database was put back'))
  assert.deepEqual(await inbox.putAll([letter(3, 'after')]), [{ id: 3 + LANE, as: 'new' }])
  await inbox.ack([3, 3 + LANE])
  await inbox.forget([3, 3 + LANE])
  assert.deepEqual(await inbox.putAll([letter(3, 'after that')]), [{ id: 3, as: 'new' }])
})

test('two who take at once get different messages, and together all', async () => {
  using home = tempState()
  await new Inbox(home.state).putAll(Array.from({ length: 60 }, (_, index) => letter(index + 1)))
  const takers = [new Inbox(home.state), new Inbox(home.state), new Inbox(home.state)]
  const taken = await Promise.all(takers.map((taker) => taker.take(60)))
  const ids = taken.flat().map(({ id }) => id)
  assert.equal(ids.length, 60)
  assert.equal(new Set(ids).size, 60)
})

test('a file has its name only when it is whole: who watches the folder hears of it once', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  await inbox.recover()
  const heard: string[] = []
  const watcher = watch(inbox.folder('new'), (event, name) => heard.push(`${event} ${name}`))
  await inbox.putAll([letter(1), letter(2)])
  const marker = join(inbox.folder('new'), '.marker')
  writeFileSync(marker, '')
  while (!heard.some((each) => each.endsWith('.marker'))) await once(watcher, 'change')
  watcher.close()
  assert.deepEqual(
    heard.filter((each) => !each.endsWith('.marker')),
    ['rename 1.json', 'rename 2.json'],
  )
})

test('what was taken can be acked, and so can what is new', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  await inbox.putAll([letter(1), letter(2)])
  await inbox.take(1)
  assert.deepEqual(await inbox.ack([1, 2, 3]), [1, 2])
  assert.deepEqual(await inbox.list('done'), [1, 2])
})

test('an agent that leaves rubbish is told, loses nothing, and stops nothing', async () => {
  using home = tempState()
  const faults: string[] = []
  const inbox = new Inbox(home.state, (fault) => faults.push(fault))
  await inbox.putAll([letter(1), letter(50)])
  const fresh = join(home.state, 'inbox/new')
  writeFileSync(join(fresh, '2.json'), '{"id": 2, "text": "cut sho')
  mkdirSync(join(fresh, '3.json'))
  symlinkSync('/etc/passwd', join(fresh, '4.json'))
  execFileSync('/bin/sh', ['-c', 'mkfifo "$1"', 'sh', join(fresh, '5.json')])
  writeFileSync(join(fresh, '6.json'), '')
  truncateSync(join(fresh, '6.json'), MESSAGE_FILE_MAX + 1)
  writeFileSync(join(fresh, '7.json'), Buffer.from([0x7b, 0xff, 0xfe, 0x7d]))
  writeFileSync(join(fresh, '8.json'), '[1,2,3]')
  writeFileSync(join(fresh, '9.json'), JSON.stringify({ ...letter(9), to: '../../etc' }))
  writeFileSync(join(fresh, '10.json'), `{"__proto__": ${'['.repeat(50_000)}${']'.repeat(50_000)}}`)
  writeFileSync(join(fresh, '50.json.part'), 'half')
  writeFileSync(join(fresh, '.51.json.swp'), 'an editor at work')
  writeFileSync(join(fresh, '007.json'), 'a name that is nearly one')
  writeFileSync(join(fresh, 'evil\n\u001b[31mname.json'), '{}')
  mkdirSync(join(fresh, 'folder'))

  assert.deepEqual(await inbox.list('new'), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 50])
  assert.equal(await inbox.read(4), null)
  const taken = await inbox.take(100)
  assert.deepEqual(taken, [letter(1), letter(50)])
  assert.equal(faults.length, 9, faults.join('\n'))
  await inbox.tidy()
  assert.equal(faults.length, 13, faults.join('\n'))
  assert.deepEqual(readdirSync(fresh), ['.51.json.swp'])
  const bad = readdirSync(join(home.state, 'inbox/bad'))
  assert.equal(bad.filter((name) => !name.endsWith('.why')).length, 13)
  assert.equal(bad.filter((name) => name.endsWith('.why')).length, 13)
  assert.ok(faults.some((fault) => /4\.json is a symbolic link: set aside as inbox\/bad\//.test(fault)))
  assert.ok(faults.every((fault) => !/[^\x20-\x7e…]/.test(fault)))
  assert.ok(!faults.join().includes('root:'), 'what a link points to is never shown')
})

test('what cannot be a message is not put, and what is too long for an inbox is cut and says so', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  for (const id of [0, -1, 1.5, LANE, Number.NaN]) await assert.rejects(inbox.put(letter(id)), { code: 'invalid' })
  const widest = letter(1, '\u0001'.repeat(TEXT_MAX))
  await inbox.put(widest)
  await inbox.put(letter(2, '\u0001'.repeat(5_000_000)))
  const [full, cut] = await inbox.take(2)
  assert.deepEqual(full, widest)
  assert.match(cut?.text ?? '', /\[cut here: 5000000 characters are more than an inbox keeps\]$/)
})

test('bad is kept small', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  await inbox.put(letter(1))
  for (let n = 0; n < 130; n += 1) writeFileSync(join(home.state, `inbox/new/junk-${n}`), 'x')
  await inbox.tidy()
  const bad = readdirSync(join(home.state, 'inbox/bad'))
  assert.ok(bad.length <= 202, `${bad.length} files`)
  assert.deepEqual(await inbox.list('new'), [1])
})

test('folders that somebody removed or put something else in place of are made anew, or named as what is wrong', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  await inbox.put(letter(1))
  rmSync(join(home.state, 'inbox'), { recursive: true })
  assert.deepEqual(await inbox.list('new'), [])
  assert.deepEqual(await inbox.take(1), [])
  assert.equal(await inbox.put(letter(2)), true)
  rmSync(join(home.state, 'inbox/done'), { recursive: true })
  assert.deepEqual(await inbox.ack([2]), [2])
  rmSync(join(home.state, 'inbox/new'), { recursive: true })
  writeFileSync(join(home.state, 'inbox/new'), 'a file')
  await assert.rejects(inbox.put(letter(3)), (error) => error instanceof S2Error && error.code === 'unavailable')
  unlinkSync(join(home.state, 'inbox/new'))
  assert.equal(await inbox.put(letter(3)), true)
})

test('a folder in the place of a message is out of the way of moves', async () => {
  using home = tempState()
  const faults: string[] = []
  const inbox = new Inbox(home.state, (fault) => faults.push(fault))
  await inbox.putAll([letter(1), letter(2)])
  mkdirSync(join(home.state, 'inbox/cur/1.json/deep'), { recursive: true })
  mkdirSync(join(home.state, 'inbox/done/2.json'), { recursive: true })
  assert.deepEqual(
    (await inbox.take(2)).map(({ id }) => id),
    [1, 2],
  )
  assert.deepEqual(await inbox.ack([1, 2]), [1, 2])
  await inbox.forget([1, 2])
  assert.equal(faults.length, 2, faults.join('\n'))
})

test('a new life removes the drafts of the one before, and none of its own', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  await inbox.put(letter(1))
  writeFileSync(join(home.state, 'inbox/tmp/0123456789ab-2'), '{"id"')
  mkdirSync(join(home.state, 'inbox/tmp/odd'))
  await new Inbox(home.state).recover()
  assert.deepEqual(readdirSync(join(home.state, 'inbox/tmp')), [])
  assert.deepEqual(await inbox.list('new'), [1])
})

test('a message is let go of only when it is remembered', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  await inbox.put(letter(1))
  await inbox.ack([1])
  mkdirSync(join(home.state, 'inbox/acked'))
  await assert.rejects(inbox.forget([1]), { code: 'unavailable' })
  assert.deepEqual(await inbox.list('done'), [1])
  rmdirSync(join(home.state, 'inbox/acked'))
  await inbox.forget([1])
  assert.deepEqual(await inbox.putAll([letter(1)]), [{ id: 1, as: 'acked' }])
})

test('inspect sets aside what only looks like a message, read does not', async () => {
  using home = tempState()
  const faults: string[] = []
  const inbox = new Inbox(home.state, (fault) => faults.push(fault))
  await inbox.put(letter(1))
  await inbox.take(1)
  writeFileSync(join(home.state, 'inbox/cur/1.json'), 'scribbled over')
  assert.equal(await inbox.read(1), null)
  assert.deepEqual(await inbox.list('cur'), [1])
  assert.equal(await inbox.inspect(1), null)
  assert.deepEqual(await inbox.list('cur'), [])
  assert.match(faults.join(), /cur\/1\.json is not JSON/)
  // It was never acked: brought once more it is new.
  assert.equal(await inbox.put(letter(1)), true)
})

test('the ledger of what was acked stays small, keeps the newest, and survives a torn line', async () => {
  using home = tempState()
  const path = join(home.state, 'inbox/acked')
  const ledger = new AckedLedger(path)
  const digests = Array.from({ length: 30_000 }, (_, index) => messageDigest(letter(index + 1)))
  assert.equal(new Set(digests).size, digests.length)
  for (let at = 0; at < digests.length; at += 3_000) await ledger.add(digests.slice(at, at + 3_000))
  assert.ok(statSync(path).size < 20_000 * 16, `${statSync(path).size} bytes`)
  const torn = digests[0] as number
  writeFileSync(path, `${readFileSync(path, 'utf8')}0123`)
  await new AckedLedger(path).add([torn])
  const again = new AckedLedger(path)
  for (const digest of digests.slice(-10_000)) assert.equal(await again.has(digest), true)
  assert.equal(await again.has(torn), true)
  assert.equal(await again.has(digests[1] as number), false)
  writeFileSync(path, Buffer.from([0xff, 0xfe]))
  assert.equal(await new AckedLedger(path).has(torn), false)
})

/** Puts, takes, acks and forgets as fast as it can, and says on stdout what it was answered, in one write each. */
const BUSY = `
import { writeSync } from 'node:fs'
import { Inbox } from '#spool/inbox.ts'
import { letter } from './sample.ts'
const inbox = new Inbox(process.argv[1])
await inbox.recover()
const from = Number(process.argv[2])
for (let id = from; ; id += 3) {
  const group = [letter(id), letter(id + 1), letter(id + 2)]
  await inbox.putAll(group)
  writeSync(1, 'put ' + id + '\\n')
  const taken = await inbox.take(2)
  const acked = await inbox.ack(taken.slice(0, 1).map(({ id }) => id))
  writeSync(1, 'acked ' + acked.join() + '\\n')
  if (id % 2 === 0) await inbox.forget(acked)
}
`

test('killed at any instant, it keeps what it answered for, and leaves nothing half', async () => {
  using home = tempState()
  let next = 1
  const put = new Set<number>()
  const acked = new Set<number>()
  for (let round = 0; round < 6; round += 1) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', BUSY, '--', home.state, String(next)], {
      cwd: import.meta.dirname,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let said = ''
    let lines = 0
    const wanted = 5 + round * 7
    child.stdout.on('data', (data) => {
      said += data
      lines += String(data).split('\n').length - 1
      if (lines >= wanted) child.kill('SIGKILL')
    })
    await once(child, 'close')
    for (const [, verb, ids] of said.matchAll(/^(put|acked) ([\d,]+)$/gm)) {
      for (const id of (ids ?? '').split(',').map(Number)) {
        if (verb === 'acked') acked.add(id)
        else for (const each of [id, id + 1, id + 2]) put.add(each)
      }
    }
    next = Math.max(...put) + 10
    const inbox = new Inbox(home.state)
    for (const shelf of ['new', 'cur', 'done'] as const) {
      for (const id of await inbox.list(shelf)) assert.deepEqual(await inbox.inspect(id), letter(id))
    }
    assert.ok(!existsSync(join(home.state, 'inbox/bad')), 'nothing is ever half there')
    for (const id of put) {
      const [place] = await inbox.putAll([letter(id)])
      assert.notEqual(place?.as, 'new', `message ${id} was lost after round ${round}`)
    }
    const open = [...(await inbox.list('new')), ...(await inbox.list('cur'))]
    for (const id of acked) assert.ok(!open.includes(id), `message ${id} was acked and came up again`)
  }
  assert.ok(put.size >= 60 && acked.size >= 20, `only ${put.size} put, ${acked.size} acked`)
})

const FULL = `
import { rmSync, writeFileSync, readdirSync } from 'node:fs'
import { Inbox } from '#spool/inbox.ts'
import { Outbox } from '#spool/outbox.ts'
import { publishCredential, readCredentials } from '#spool/credentials.ts'
import { credential, letter, READER } from './sample.ts'
const state = process.argv[1]
const inbox = new Inbox(state)
const outbox = new Outbox(state)
const text = 'x'.repeat(20_000)
const item = { kind: 'send', from: READER, draft: { text } }
await inbox.put(letter(1))
await inbox.take(1)
await outbox.put(item)
await publishCredential(state, credential())
let kept = 1
const errors = []
for (let id = 2; id < 80; id += 5) {
  try {
    await inbox.putAll([0, 1, 2, 3, 4].map((more) => letter(id + more, text)))
    kept += 5
  } catch (error) {
    errors.push(error.code + ': ' + error.message)
  }
}
try { while (true) writeFileSync(state + '/ballast' + Math.random(), 'x') } catch {}
for (const each of [() => outbox.put(item), () => publishCredential(state, credential({ token: 'n'.repeat(64) }))]) {
  await each().catch((error) => errors.push(error.code + ': ' + error.message))
}
const during = { errors, kept, listed: (await inbox.list('new')).length + (await inbox.list('cur')).length,
  left: readdirSync(state + '/inbox/tmp').length + readdirSync(state + '/outbox/tmp').length,
  credentials: (await readCredentials(state)).credentials.map(({ token }) => token[0]), acked: await inbox.ack([1]) }
for (const name of readdirSync(state)) if (name.startsWith('ballast')) rmSync(state + '/' + name)
for (const id of (await inbox.list('new'))) rmSync(inbox.folder('new') + '/' + id + '.json')
const after = [await inbox.put(letter(99, text)), typeof await outbox.put(item)]
await inbox.forget([1])
console.log(JSON.stringify({ ...during, after, remembered: (await inbox.putAll([letter(1)]))[0].as }))
`

/** A disk of its own for one command: a mount in a namespace of its own, where this machine lets us have one. */
function onSmallDisk(size: string, script: string): string | null {
  using home = tempState()
  const place = 'unshare -rm true || exit 99; exec unshare -rm sh -c "$INSIDE" sh "$1" "$2" "$3"'
  const inside = `mount -t tmpfs -o size=${size},nr_inodes=200 s2-test "$1" || exit 99; exec "$2" --input-type=module -e "$3" -- "$1"`
  try {
    const args = ['-c', place, 'sh', home.state, process.execPath, script]
    const env = { ...process.env, INSIDE: inside }
    return execFileSync('/bin/sh', args, { cwd: import.meta.dirname, encoding: 'utf8', env })
  } catch (error) {
    const { status } = error as { status?: number }
    if (status === 99) return null
    throw error
  }
}

test('a full disk is told as such, leaves nothing half, and everything goes on when there is room', (context) => {
  const told = onSmallDisk('400k', FULL)
  if (told === null) return context.skip('this machine lets nobody mount a small disk')
  const { errors, kept, listed, left, credentials, acked, after, remembered } = JSON.parse(told)
  assert.ok(errors.length > 10 && kept > 3, told)
  for (const error of errors) assert.match(error, /^unavailable: .* the disk is full$/)
  assert.equal(listed, kept, 'what was answered is there, and no more')
  assert.equal(left, 0, 'no drafts are left')
  assert.deepEqual(credentials, ['k'], 'the credential in force stays')
  assert.deepEqual(acked, [1], 'acking needs no room')
  assert.deepEqual(after, [true, 'string'])
  assert.equal(remembered, 'acked')
  return undefined
})

test('an inbox that the agent may not write to by accident is private', async () => {
  using home = tempState()
  const inbox = new Inbox(home.state)
  await inbox.put(letter(1))
  for (const name of ['inbox', 'inbox/new', 'inbox/cur', 'inbox/done', 'inbox/tmp']) {
    assert.equal(statSync(join(home.state, name)).mode & 0o077, 0, name)
  }
  chmodSync(join(home.state, 'inbox/new/1.json'), 0o644)
  renameSync(join(home.state, 'inbox/new/1.json'), join(home.state, 'inbox/done/1.json'))
  assert.deepEqual(await inbox.list('done'), [1], 'whoever moves a file by hand has acked it')
  assert.deepEqual(await inbox.putAll([letter(1)]), [{ id: 1, as: 'known' }])
  assert.equal((await inbox.read(1))?.to, READER)
})
