/** What an agent that owns its spool can plant there, and that it harms nobody else with it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Inbox, LANE } from '#spool/inbox.ts'
import { Outbox } from '#spool/outbox.ts'
import { readPlainFile } from '#spool/plain-file.ts'
import { beforeEachCall } from './file-system-calls.ts'
import { letter as message } from './sample.ts'

class Ground implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 's2-hostile-'))
  readonly state = join(this.folder, 'state')
  readonly elsewhere = join(this.folder, 'elsewhere')
  readonly faults: string[] = []
  onFault: () => void = () => undefined
  readonly inbox = new Inbox(this.state, (fault) => {
    this.faults.push(fault)
    this.onFault()
  })
  readonly outbox = new Outbox(this.state, (fault) => this.faults.push(fault))

  constructor() {
    mkdirSync(this.elsewhere)
  }

  /** Puts a link to a folder of somebody else in the place of a folder of the spool. */
  plantLink(...place: string[]): void {
    const path = join(this.state, ...place)
    rmSync(path, { recursive: true, force: true })
    mkdirSync(join(path, '..'), { recursive: true })
    symlinkSync(this.elsewhere, path)
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

const SEND = { kind: 'send', from: 'conv_00000000000000aa/b', draft: { text: 'hello' } } as const

for (const folder of ['new', 'tmp', 'cur', 'done', 'bad']) {
  test(`a link in the place of inbox/${folder} leads no message out of the spool`, async () => {
    using ground = new Ground()
    const { inbox } = ground
    await inbox.recover()
    writeFileSync(join(ground.elsewhere, '5.json'), 'of somebody else')
    writeFileSync(join(ground.elsewhere, 'strange'), 'of somebody else')
    ground.plantLink('inbox', folder)
    await inbox.recover()
    await inbox.putAll([message(1), message(2)])
    assert.deepEqual(
      (await inbox.take(1)).map(({ id }) => id),
      [1],
    )
    await inbox.ack([1])
    await inbox.tidy()
    await inbox.forget([1])
    assert.deepEqual(await inbox.list('new'), [2])
    assert.deepEqual(readdirSync(ground.elsewhere).sort(), ['5.json', 'strange'])
  })
}

test('a link that comes in the place of a folder while the inbox is in use is put away before the next message', async () => {
  using ground = new Ground()
  await ground.inbox.putAll([message(1)])
  ground.plantLink('inbox', 'new')
  await ground.inbox.putAll([message(2)])
  assert.deepEqual(await ground.inbox.list('new'), [2])
  assert.deepEqual(readdirSync(ground.elsewhere), [])
  assert.ok(
    ground.faults.some((fault) => /inbox\/new is no folder/.test(fault)),
    ground.faults.join('\n'),
  )
})

test('a folder that is swapped for a link while it is tidied moves nothing from where the link leads', async () => {
  using ground = new Ground()
  const { inbox, state } = ground
  await inbox.recover()
  const victims = ['keys', 'git', 'credentials']
  for (const name of victims) writeFileSync(join(state, name), 'of the services')
  const fresh = inbox.folder('new')
  for (let n = 0; n < 190; n += 1) writeFileSync(join(fresh, `junk ${n}`), '')
  for (const name of victims) writeFileSync(join(fresh, name), '')
  ground.onFault = () => {
    if (ground.faults.length > 1) return
    renameSync(fresh, `${fresh}-was`)
    symlinkSync('..', fresh)
  }
  await inbox.tidy()
  for (const name of victims) assert.equal(readFileSync(join(state, name), 'utf8'), 'of the services')
  assert.equal(ground.faults.length, 193, 'what was opened is tidied, wherever it lies')
  await inbox.putAll([message(1)])
  assert.deepEqual(await inbox.list('new'), [1], 'and the next message finds a folder')
})

test('a file of the services that is linked in the place of the ledger is not written to', async () => {
  using ground = new Ground()
  await ground.inbox.put(message(1))
  await ground.inbox.ack([1])
  writeFileSync(join(ground.elsewhere, 'victim'), 'theirs')
  linkSync(join(ground.elsewhere, 'victim'), join(ground.state, 'inbox', 'acked'))
  await ground.inbox.forget([1])
  assert.equal(readFileSync(join(ground.elsewhere, 'victim'), 'utf8'), 'theirs')
  assert.equal(await ground.inbox.put(message(1)), false, 'it is remembered all the same')
})

test('a folder in a folder in a folder is removed, however deep', async () => {
  using ground = new Ground()
  await ground.inbox.recover()
  const drafts = join(ground.state, 'inbox', 'tmp')
  let deepest = drafts
  for (let depth = 0; depth < 300; depth += 1) deepest = join(deepest, `folder ${depth}`.padEnd(8))
  mkdirSync(deepest, { recursive: true })
  writeFileSync(join(deepest, 'file'), '')
  symlinkSync(ground.elsewhere, join(deepest, 'link'))
  writeFileSync(join(ground.elsewhere, 'strange'), 'of somebody else')
  await new Inbox(ground.state).recover()
  assert.deepEqual(readdirSync(drafts), [])
  assert.deepEqual(readdirSync(ground.elsewhere), ['strange'])
})

test('a pipe or a link in the place of the ledger of acked messages holds nobody up and leads nowhere', {
  timeout: 20_000,
}, async () => {
  using ground = new Ground()
  await ground.inbox.recover()
  execFileSync('mkfifo', [join(ground.state, 'inbox', 'acked')])
  const acking = async (id: number): Promise<void> => {
    await ground.inbox.put(message(id))
    await ground.inbox.ack([id])
    await ground.inbox.forget([id])
  }
  await acking(1)
  rmSync(join(ground.state, 'inbox', 'acked'), { force: true })
  writeFileSync(join(ground.elsewhere, 'victim'), 'theirs')
  symlinkSync(join(ground.elsewhere, 'victim'), join(ground.state, 'inbox', 'acked'))
  await acking(2)
  assert.equal(readFileSync(join(ground.elsewhere, 'victim'), 'utf8'), 'theirs')
  assert.equal(await ground.inbox.put(message(2)), false, 'it is still remembered as acked')
})

test('a number out of all proportion in the inbox costs no time and hides no message', async () => {
  using ground = new Ground()
  await ground.inbox.recover()
  for (const name of ['9007199254740991', '9007199254740990', String(2 ** 40 * 4000)])
    writeFileSync(join(ground.inbox.folder('new'), `${name}.json`), '{}')
  const looked: string[] = []
  const began = process.cpuUsage()
  await ground.inbox.putAll(Array.from({ length: 400 }, (_, index) => message(index + 1)))
  const { user, system } = process.cpuUsage(began)
  assert.equal((await ground.inbox.list('new')).length, 400, looked.join())
  assert.ok(user + system < 4_000_000, `${(user + system) / 1e6} s of the processor for 400 messages`)
  await ground.inbox.tidy()
  assert.equal(readdirSync(ground.inbox.folder('new')).length, 400)
  assert.equal(ground.faults.length, 3)
})

test('one planted number in the highest range costs one look more for each message, and not one for each range', async () => {
  using ground = new Ground()
  await ground.inbox.recover()
  const planted = message(LANE * 63 + 1)
  writeFileSync(join(ground.inbox.folder('new'), `${planted.id}.json`), JSON.stringify(planted))
  await ground.inbox.put(message(1)) // the first one looks which ranges are in use
  let calls = 0
  {
    using _calls = beforeEachCall(() => {
      calls += 1
    })
    await ground.inbox.putAll(Array.from({ length: 100 }, (_, index) => message(index + 10)))
  }
  assert.ok(calls < 2500, `${calls} calls into the file system for 100 messages`)
  const other = { ...message(1), text: 'of another bridge' }
  assert.deepEqual(
    (await ground.inbox.putAll([other, { ...other, text: 'of a third' }])).map(({ id }) => id),
    [LANE + 1, 2 * LANE + 1],
  )
})

test('names that are no UTF-8 are set aside like others, and cleared from drafts', async () => {
  using ground = new Ground()
  const { inbox, outbox } = ground
  await inbox.recover()
  await outbox.put(SEND)
  const at = (folder: string, name: string): Buffer => Buffer.from(join(folder, name), 'latin1')
  for (const folder of [inbox.folder('new'), outbox.folder('new'), join(ground.state, 'inbox', 'tmp')]) {
    for (const name of ['caf\xe9.json', '\xff', '\xfe', '\xe9']) writeFileSync(at(folder, name), 'x')
    mkdirSync(at(folder, '\xc3('))
    writeFileSync(at(folder, '\xc3(/\xff'), 'x')
  }
  writeFileSync(join(inbox.folder('new'), 'a\ufffd'), 'x') // which is UTF-8
  for (let index = 0; index < 195; index += 1) writeFileSync(at(inbox.folder('new'), `\xff${index}`), 'x')
  for (let round = 0; round < 2; round += 1) {
    await inbox.recover()
    await inbox.tidy()
    await outbox.tidy(0)
  }
  assert.deepEqual(readdirSync(inbox.folder('new')), [])
  assert.deepEqual(readdirSync(join(ground.state, 'inbox', 'tmp')), [])
  assert.equal((await outbox.names()).length, readdirSync(outbox.folder('new')).length)
  assert.equal(ground.faults.length, 201 + 5, ground.faults.filter((fault) => !/set aside as/.test(fault)).join('\n'))
  assert.deepEqual(
    ground.faults.filter((fault) => !/set aside as/.test(fault)),
    [],
  )
})

for (const planted of [
  '9999999999999999',
  '0999999999999999',
  '9007199254740991',
  '0000999999999999',
  '0001000000000000',
]) {
  test(`a number like ${planted} in the outbox loses no message that was answered durable`, async () => {
    using ground = new Ground()
    const { outbox } = ground
    await outbox.put(SEND)
    const item = { ...SEND, key: 'planted' }
    writeFileSync(join(outbox.folder('new'), `${planted}-0123456789abcdef.json`), JSON.stringify(item))
    const name = await outbox.put(SEND)
    assert.equal(await outbox.outcome(name), 'waiting')
    assert.ok((await outbox.names()).includes(name), 'it will be carried')
    await outbox.tidy(0)
    assert.ok((await outbox.names()).includes(name), 'and is not set aside')
    const later = await outbox.put(SEND)
    assert.ok((await outbox.names()).includes(later))
    await outbox.done(name)
    assert.equal(await outbox.outcome(name), 'carried')
  })
}

test('many that are read at once are as safe as one: links, pipes, folders, devices and rubbish are no messages', async () => {
  using ground = new Ground()
  const { inbox } = ground
  await inbox.put(message(1))
  const at = (id: number): string => join(inbox.folder('new'), `${id}.json`)
  writeFileSync(join(ground.elsewhere, 'theirs.json'), JSON.stringify(message(2)))
  symlinkSync(join(ground.elsewhere, 'theirs.json'), at(2))
  symlinkSync('/dev/zero', at(3))
  execFileSync('mkfifo', [at(4)])
  mkdirSync(at(5))
  writeFileSync(at(6), Buffer.from(JSON.stringify(message(6, 'é'))).subarray(0, -3))
  writeFileSync(at(7), Buffer.from(JSON.stringify(message(7, 'café')), 'latin1'))
  truncateSync(at(6), 5 * 1024 * 1024)
  linkSync(at(7), at(8))
  const ids = await inbox.list('new')
  const read = await Array.fromAsync(inbox.readAll('new', [...ids, 99]))
  assert.deepEqual(
    read.map(([id, found]) => (found === null ? `${id} none` : `${id} ${found.text}`)),
    ['1 message 1', ...[2, 3, 4, 5, 6, 7, 8, 99].map((id) => `${id} none`)],
  )
  assert.deepEqual(await inbox.list('new'), ids)
  ground.plantLink('inbox', 'new')
  assert.deepEqual(await Array.fromAsync(inbox.readAll('new', [1])), [[1, null]])
})

test('what is no name of an item is never told as carried', async () => {
  using ground = new Ground()
  await assert.rejects(ground.outbox.outcome('10000000000000000-0123456789abcdef'), { code: 'invalid' })
  assert.equal(await ground.outbox.outcome('0000000000000001-0123456789abcdef'), 'unknown', 'nobody put it')
})

test('an act that is nested without end is refused with its reason, once, and holds nothing up', async () => {
  using ground = new Ground()
  const { outbox, faults } = ground
  const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`
  const name = '0000000000000001-0123456789abcdef'
  const path = join(outbox.folder('new'), `${name}.json`)
  const plant = (): void => {
    const act = `{"action":"guard_started","details":{"a":${deep}}}`
    writeFileSync(path, `{"kind":"act","holder":"${SEND.from}","act":${act}}`)
  }
  const honest = await outbox.put(SEND)
  plant()
  assert.deepEqual(
    (await outbox.list()).map((each) => each.name),
    [honest],
  )
  assert.deepEqual(await outbox.names(), [honest])
  const told = await outbox.outcome(name)
  assert.ok(typeof told === 'object' && told.code === 'invalid' && /nested deeper than/.test(told.message))
  assert.equal(faults.length, 1, faults.join('\n'))
  plant()
  await outbox.refuse(name, { code: 'internal', message: 'x', next: null, id: null })
  assert.deepEqual(await outbox.names(), [honest], 'nor is it kept by whoever refuses it')
})

test('what is no item is told as refused, and set aside also where that cannot be told', async () => {
  using ground = new Ground()
  const { outbox } = ground
  const name = '0000000000000001-0123456789abcdef'
  await outbox.tidy(0)
  writeFileSync(join(outbox.folder('new'), `${name}.json`), '{"kind":"dance"}')
  assert.equal(await outbox.read(name), null)
  const told = await outbox.outcome(name)
  assert.ok(typeof told === 'object' && /is no message, report or act/.test(told.message))
  rmSync(outbox.folder('refused'), { recursive: true })
  writeFileSync(outbox.folder('refused'), 'a file where the folder belongs')
  writeFileSync(join(outbox.folder('new'), `${name}.json`), '{"kind":"dance"}')
  assert.equal(await outbox.read(name), null)
  assert.deepEqual(await outbox.names(), [])
})

for (const folder of ['new', 'tmp', 'refused', 'bad']) {
  test(`a link in the place of outbox/${folder} leads no item out of the spool`, async () => {
    using ground = new Ground()
    const { outbox } = ground
    writeFileSync(join(ground.elsewhere, 'strange'), 'of somebody else')
    await outbox.put(SEND)
    ground.plantLink('outbox', folder)
    const name = await outbox.put(SEND)
    writeFileSync(join(outbox.folder('new'), 'rubbish'), '')
    await outbox.tidy(Date.now() + 1e9)
    await outbox.refuse(name, { code: 'invalid', message: 'no', next: null, id: null })
    assert.deepEqual(readdirSync(ground.elsewhere), ['strange'])
    assert.equal(readFileSync(join(ground.elsewhere, 'strange'), 'utf8'), 'of somebody else')
  })
}

test('a file of another user is refused where only our own are taken', { skip: process.getuid?.() !== 0 }, async () => {
  using ground = new Ground()
  const path = join(ground.elsewhere, 'file')
  writeFileSync(path, 'x')
  execFileSync('chown', ['12345', path])
  assert.equal((await readPlainFile(path, 10))?.text, 'x')
  await assert.rejects(readPlainFile(path, 10, 'own'), { code: 'invalid', message: /another user/ })
})
