import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { TEXT_MAX } from '#fleet/message.ts'
import type { Report } from '#fleet/task.ts'
import { type NewOutboxItem, Outbox, type OutboxProblem, speakerOf } from '#spool/outbox.ts'
import { OTHER, READER, tempState } from './sample.ts'

function words(text: string, key?: string): NewOutboxItem {
  return { kind: 'send', from: READER, draft: { text }, ...(key === undefined ? {} : { key }) }
}

const REPORT: Report = {
  task: 'task-1',
  epoch: 3,
  state: 'completed',
  progress: null,
  result: { exitCode: 0, signal: null, tail: 'done' },
}
const ACT = { action: 'guard_ended', details: { how: 'exit code 0' } }
const STALE: OutboxProblem = { code: 'stale_epoch', message: 'it has another owner now', next: 'stop', id: 'q1' }

test('what waits on the disk holds no secrets', async () => {
  using home = tempState()
  const outbox = new Outbox(home.state)
  const token = ['ghp', 'a1B2'.repeat(9)].join('_')
  const result = { exitCode: 0, signal: null, tail: `made ${token}` }
  const names = [
    await outbox.put(words(`take ${token}`)),
    await outbox.put({ kind: 'report', holder: OTHER, report: { ...REPORT, progress: token, result } }),
    await outbox.put({ kind: 'act', holder: OTHER, act: { action: 'guard_started', details: { command: [token] } } }),
  ]
  for (const name of names) {
    const text = readFileSync(join(home.state, 'outbox/new', `${name}.json`), 'utf8')
    assert.match(text, /\[redacted github-token\]/)
    assert.doesNotMatch(text, /a1B2/)
  }
})

test('what is put lies there in order, with a key of its own or the one given, until it is done', async () => {
  using home = tempState()
  const outbox = new Outbox(home.state)
  const names = [
    await outbox.put(words('first')),
    await outbox.put({ kind: 'report', holder: OTHER, report: REPORT }),
    await outbox.put(words('third', 'my key')),
    await outbox.put({ kind: 'act', holder: OTHER, act: ACT }),
  ]
  const entries = await outbox.list()
  assert.deepEqual(
    entries.map(({ name }) => name),
    names,
  )
  const [first, report, third, act] = entries.map(({ item }) => item)
  assert.deepEqual(act, { kind: 'act', holder: OTHER, act: ACT })
  assert.deepEqual(first, {
    kind: 'send',
    from: READER,
    key: names[0],
    draft: { text: 'first', action: null, files: [] },
  })
  assert.deepEqual(report, { kind: 'report', holder: OTHER, report: REPORT })
  assert.equal(third?.kind === 'send' ? third.key : null, 'my key')
  assert.deepEqual(
    [first, report].map((item) => item && speakerOf(item)),
    [READER, OTHER],
  )
  assert.equal(statSync(join(home.state, 'outbox/new', `${names[0]}.json`)).mode & 0o777, 0o600)
  assert.deepEqual(readdirSync(join(home.state, 'outbox/tmp')), [])

  assert.equal(await outbox.outcome(names[0] as string), 'waiting')
  await outbox.done(names[0] as string)
  await outbox.done(names[0] as string)
  assert.equal(await outbox.outcome(names[0] as string), 'carried')
  assert.deepEqual(await outbox.names(), names.slice(1))
})

test('calls that are made at once keep their order, and names are never used again', async () => {
  using home = tempState()
  const outbox = new Outbox(home.state)
  const wanted = Array.from({ length: 40 }, (_, index) => `text ${index}`)
  const names = await Promise.all(wanted.map((text) => outbox.put(words(text))))
  const texts = (await outbox.list()).map(({ item }) => (item.kind === 'send' ? item.draft.text : ''))
  assert.deepEqual(texts, wanted)
  for (const name of names) await outbox.done(name)
  const next = await outbox.put(words('after all left'))
  assert.ok(!names.includes(next))
})

test('many processes put at once and lose nothing', async () => {
  using home = tempState()
  const script = `
    import { Outbox } from '#spool/outbox.ts'
    import { READER } from './sample.ts'
    const outbox = new Outbox(process.argv[1])
    for (let n = 0; n < 15; n += 1) await outbox.put({ kind: 'send', from: READER, draft: { text: process.argv[2] + ' ' + n } })
  `
  const children = ['a', 'b', 'c'].map((who) =>
    spawn(process.execPath, ['--input-type=module', '-e', script, '--', home.state, who], {
      cwd: import.meta.dirname,
      stdio: 'inherit',
    }),
  )
  await Promise.all(children.map((child) => once(child, 'close')))
  const texts = (await new Outbox(home.state).list()).map(({ item }) => (item.kind === 'send' ? item.draft.text : ''))
  assert.equal(texts.length, 45)
  for (const who of ['a', 'b', 'c']) {
    const own = texts.filter((text) => text.startsWith(who))
    assert.deepEqual(
      own,
      Array.from({ length: 15 }, (_, n) => `${who} ${n}`),
      'each in its order',
    )
  }
})

test('what no store may keep is refused before it waits', async () => {
  using home = tempState()
  const outbox = new Outbox(home.state)
  await assert.rejects(outbox.put(words('')), { code: 'invalid' })
  await assert.rejects(outbox.put(words('x'.repeat(TEXT_MAX + 1))), { code: 'too_large' })
  const name = await outbox.put(words('\u0001'.repeat(TEXT_MAX)))
  const item = await outbox.read(name)
  assert.equal(item?.kind === 'send' ? item.draft.text.length : 0, TEXT_MAX)
})

test('a refused item lies aside with its problem, and is told to whoever asks', async () => {
  using home = tempState()
  const outbox = new Outbox(home.state)
  const name = await outbox.put({ kind: 'report', holder: READER, report: REPORT })
  assert.equal(await outbox.refusal(name), null)
  await outbox.refuse(name, STALE)
  assert.deepEqual(await outbox.refusal(name), STALE)
  assert.deepEqual(await outbox.outcome(name), STALE)
  assert.deepEqual(await outbox.names(), [])
  const kept = JSON.parse(readFileSync(join(home.state, 'outbox/refused', `${name}.json`), 'utf8'))
  assert.deepEqual(kept.item.report, REPORT)
  await outbox.refuse(name, STALE) // a second time, as after a crash
  assert.equal(await outbox.refusal('../../etc/passwd'), null)
})

test('what became of an item is told apart, by whoever asks and after a restart', async () => {
  using home = tempState()
  const outbox = new Outbox(home.state)
  const [carried = '', refused = '', lost = '', waiting = ''] = await Promise.all(
    ['carried', 'refused', 'lost', 'waiting'].map((text) => outbox.put(words(text))),
  )
  await outbox.done(carried)
  await outbox.done(carried) // a second time, as after a crash
  await outbox.refuse(refused, STALE)
  rmSync(join(home.state, 'outbox/new', `${lost}.json`))
  const never = '0000000000000001-0123456789abcdef'
  for (const each of [outbox, new Outbox(home.state)]) {
    assert.deepEqual(await Promise.all([carried, refused, lost, waiting, never].map((name) => each.outcome(name))), [
      'carried',
      STALE,
      'unknown',
      'waiting',
      'unknown',
    ])
  }
  assert.equal(statSync(join(home.state, 'outbox/carried', carried)).size, 0, 'it keeps nothing of what was said')
})

test('what was carried is remembered, the latest of it, and not without end', async () => {
  using home = tempState()
  const folder = join(home.state, 'outbox/carried')
  mkdirSync(folder, { recursive: true })
  for (let n = 0; n < 6_000; n += 1) {
    const path = join(folder, `${String(n).padStart(16, '0')}-0123456789abcdef`)
    writeFileSync(path, '')
    utimesSync(path, n, n)
  }
  const outbox = new Outbox(home.state)
  const name = await outbox.put(words('one more'))
  await outbox.done(name)
  const left = readdirSync(folder)
  assert.ok(left.length <= 5_000 && left.length >= 4_000, `${left.length}`)
  assert.ok(left.includes('0000000000005999-0123456789abcdef'))
  assert.equal(await outbox.outcome(name), 'carried')
})

test('an item that was carried leaves also where that cannot be noted, and is told as unknown', async () => {
  using home = tempState()
  const outbox = new Outbox(home.state)
  const name = await outbox.put(words('carried'))
  writeFileSync(join(home.state, 'outbox/carried'), 'a file where the folder belongs')
  await outbox.done(name)
  assert.deepEqual(await outbox.names(), [])
  assert.equal(await outbox.outcome(name), 'unknown')
})

test('an item leaves the queue only when its refusal is kept', async () => {
  using home = tempState()
  const outbox = new Outbox(home.state)
  const name = await outbox.put(words('refused'))
  writeFileSync(join(home.state, 'outbox/refused'), 'a file where the folder belongs')
  await assert.rejects(outbox.refuse(name, STALE), { code: 'unavailable' })
  assert.deepEqual(await outbox.names(), [name])
  assert.equal(await outbox.outcome(name), 'waiting')
})

test('refusals are kept, but not without end', async () => {
  using home = tempState()
  const outbox = new Outbox(home.state)
  const refused = join(home.state, 'outbox/refused')
  mkdirSync(refused, { recursive: true })
  for (let n = 0; n < 1_000; n += 1) {
    const path = join(refused, `${String(n).padStart(16, '0')}-0123456789abcdef.json`)
    writeFileSync(path, '{}')
    utimesSync(path, n, n)
  }
  const name = await outbox.put(words('one more'))
  await outbox.refuse(name, STALE)
  const left = readdirSync(refused)
  assert.ok(left.length <= 1_000 && left.length >= 900, `${left.length}`)
  assert.ok(left.includes(`${name}.json`))
  assert.ok(!left.some((each) => each.startsWith('0000000000000000-')), 'the oldest goes first')
})

test('a report that gives a task back keeps its cause on the way, and one of progress its signs of work and what was used', async () => {
  using home = tempState()
  const outbox = new Outbox(home.state)
  const result = { exitCode: 75, signal: null, tail: 'no licence' }
  const reports = [
    { ...REPORT, state: 'returned', cause: 'parked', result },
    { ...REPORT, state: 'in_progress', work: 12 },
    { ...REPORT, usage: { inputTokens: 5, outputTokens: 1, cachedTokens: 2, costUsd: 0.25, turns: 1 } },
    { ...REPORT, usage: { inputTokens: 5, outputTokens: 1, cachedTokens: 2, costUsd: null, turns: 1 } },
  ] as const
  for (const report of reports) await outbox.put({ kind: 'report', holder: OTHER, report })
  assert.deepEqual(
    (await outbox.list()).map(({ item }) => item),
    reports.map((report) => ({ kind: 'report', holder: OTHER, report })),
  )
})

test('rubbish in the outbox is set aside and told, and keeps nothing from leaving', async () => {
  using home = tempState()
  const faults: string[] = []
  const outbox = new Outbox(home.state, (fault) => faults.push(fault))
  const good = await outbox.put(words('good'))
  const fresh = join(home.state, 'outbox/new')
  const bad = [
    '{"kind":"send"',
    '{"kind":"dance"}',
    '{"kind":"send","from":"nobody","key":"k","draft":{"text":"x"}}',
    `{"kind":"send","from":"${READER}","key":"","draft":{"text":"x"}}`,
    `{"kind":"send","from":"${READER}","key":"k","draft":null}`,
    `{"kind":"send","from":"${READER}","key":"k","draft":{"text":"x","files":[1]}}`,
    `{"kind":"report","holder":"${READER}","report":{"task":"t","epoch":"1","state":"completed"}}`,
    `{"kind":"report","holder":"${READER}","report":{"task":"t","epoch":1,"state":"cancelled"}}`,
    `{"kind":"report","holder":"${READER}","report":{"task":"t","epoch":1,"state":"returned","cause":"bored"}}`,
    `{"kind":"report","holder":"${READER}","report":{"task":"t","epoch":1,"state":"in_progress","work":-1}}`,
    `{"kind":"report","holder":"${READER}","report":{"task":"t","epoch":1,"state":"completed","usage":{"turns":1}}}`,
    'x'.repeat(2_000_000),
  ]
  for (const [index, text] of bad.entries()) {
    writeFileSync(join(fresh, `00000000000001${String(index).padStart(2, '0')}-0123456789abcdef.json`), text)
  }
  symlinkSync('/etc/passwd', join(fresh, '0000000000000020-0123456789abcdef.json'))
  mkdirSync(join(fresh, '0000000000000021-0123456789abcdef.json'))
  writeFileSync(join(fresh, 'note.txt'), 'to myself')
  assert.deepEqual(
    (await outbox.list()).map(({ name }) => name),
    [good],
  )
  assert.equal(faults.length, bad.length + 2, faults.join('\n'))
  await outbox.tidy(0)
  assert.match(faults.at(-1) ?? '', /note\.txt is not named like an item/)
  assert.deepEqual(readdirSync(fresh), [`${good}.json`])
  assert.ok(!faults.join().includes('root:'))
})

test('drafts whose writers died go, those of the living stay', async () => {
  using home = tempState()
  const outbox = new Outbox(home.state)
  await outbox.put(words('x'))
  const tmp = join(home.state, 'outbox/tmp')
  writeFileSync(join(tmp, 'dead'), '{')
  writeFileSync(join(tmp, 'alive'), '{')
  const now = statSync(join(tmp, 'alive')).mtimeMs
  utimesSync(join(tmp, 'dead'), now / 1000 - 7_200, now / 1000 - 7_200)
  await outbox.tidy(now)
  assert.deepEqual(readdirSync(tmp), ['alive'])
})

test('an outbox that was removed is made anew', async () => {
  using home = tempState()
  const outbox = new Outbox(home.state)
  await outbox.put(words('lost with its folder'))
  rmSync(join(home.state, 'outbox'), { recursive: true })
  assert.deepEqual(await outbox.names(), [])
  await outbox.tidy(0)
  assert.equal((await outbox.put(words('kept'))).startsWith('0000000000000001-'), true)
  writeFileSync(join(home.state, 'other'), '')
  rmSync(join(home.state, 'outbox'), { recursive: true })
  renameSync(join(home.state, 'other'), join(home.state, 'outbox'))
  await assert.rejects(outbox.put(words('x')), { code: 'unavailable' })
})

test('killed at any instant, it keeps what it answered for, and nothing half', async () => {
  using home = tempState()
  const script = `
    import { writeSync } from 'node:fs'
    import { Outbox } from '#spool/outbox.ts'
    import { READER } from './sample.ts'
    const outbox = new Outbox(process.argv[1])
    for (;;) writeSync(1, (await outbox.put({ kind: 'send', from: READER, draft: { text: 'x' } })) + '\\n')
  `
  const answered = new Set<string>()
  for (let round = 0; round < 4; round += 1) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, '--', home.state], {
      cwd: import.meta.dirname,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let said = ''
    child.stdout.on('data', (data) => {
      said += data
      if (said.length > 300 + round * 400) child.kill('SIGKILL')
    })
    await once(child, 'close')
    for (const name of said.split('\n').slice(0, -1)) answered.add(name)
  }
  const names = (await new Outbox(home.state).list()).map(({ name }) => name)
  for (const name of answered) assert.ok(names.includes(name), `${name} was lost`)
  assert.ok(answered.size > 20, `only ${answered.size}`)
  assert.ok(!existsSync(join(home.state, 'outbox/bad')))
})
