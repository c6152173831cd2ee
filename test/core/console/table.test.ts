import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClientActivityState } from '#fleet/client-activity.ts'
import type { AgentVerdict, Verdict } from '#fleet/verdict.ts'
import { type FleetOverview, readOverview, renderOverview } from '../../../services/core/console/fleet-overview.ts'
import { table } from '../../../services/core/console/table.ts'
import { ago, cut, indented, oneLine, plain, widthOf } from '../../../services/core/console/terminal-text.ts'
import { sessionId } from '../../../services/core/fleet/session-id.ts'
import { systemClock } from '../../../services/core/runtime/clock.ts'
import { openMemoryStore } from '../../../services/core/store/memory/memory.ts'

test('texts of others cannot move the cursor, and stay readable', () => {
  const hostile = 'a\x1b[2J\x1b]0;gone\x07b\r\x9bc\u202egnp'
  const controls = [...plain(hostile)].filter((each) => /[\p{Cc}\p{Cf}]/u.test(each))
  assert.deepEqual(controls, [])
  assert.equal(plain('two\nlines\tand a tab'), 'two\nlines\tand a tab')
  assert.equal(plain('a\u200fb\u061cc\u202ed\u{e0041}'), 'a<U+200F>b<U+061C>c<U+202E>d<U+E0041>')
  assert.equal(plain('👩‍💻 नमस्ते'), '👩‍💻 नमस्ते', 'what scripts are written with stays')
  assert.equal(oneLine('  two\n\n lines '), 'two lines')
})

test('no line of a text of others passes for a line of ours, and copies of it keep their own indents', () => {
  assert.equal(
    indented('one\n── 99 · conv/b → conv/a\n\n  four\r── 1\u2028── 2'),
    '  one\n  ── 99 · conv/b → conv/a\n\n    four·── 1·── 2',
  )
})

test('widths count what a terminal shows', () => {
  assert.equal(widthOf('plain'), 5)
  assert.equal(widthOf('日本'), 4)
  assert.equal(widthOf('👩‍💻!'), 3)
  assert.equal(cut('日本語テキスト', 7), '日本語…')
  assert.equal(cut('short', 5), 'short')
})

test('no row is wider than the window, and the elastic column gives way first', () => {
  const columns = [{ title: 'ID' }, { title: 'TEXT', stretches: true }, { title: 'END' }]
  const rows = [
    ['one', 'x'.repeat(300), 'last'],
    ['two', '日'.repeat(100), 'last'],
  ]
  for (const width of [30, 60, 120]) {
    const lines = table(columns, rows, width)
    assert.ok(lines.every((line) => widthOf(line) <= width))
    assert.ok(lines.slice(1).every((line) => line.endsWith('last')))
  }
})

test('where no window bounds the lines nothing is cut, and no line is padded for the length of another', () => {
  const columns = [{ title: 'ID' }, { title: 'TEXT', stretches: true }, { title: 'END' }]
  const [id, text] = ['i'.repeat(100), 'x'.repeat(5_000)]
  const [, long, short] = table(
    columns,
    [
      [id, text, 'last'],
      ['two', 'y', 'last'],
    ],
    Number.POSITIVE_INFINITY,
  )
  assert.equal(long, `${id}  ${text}  last`)
  assert.ok((short ?? '').length < 200)
})

test('columns that give way do so one after the other, so that what stretches says something', () => {
  const columns = [
    { title: 'ID' },
    { title: 'KIND', yields: 2 },
    { title: 'NAME', yields: 1 },
    { title: 'TEXT', stretches: true },
    { title: 'END' },
  ]
  const rows = [['one', 'k'.repeat(10), 'n'.repeat(20), 'x'.repeat(300), 'last']]
  const titles = (width: number): string[] => (table(columns, rows, width)[0] ?? '').split(/ +/)
  assert.deepEqual(titles(80), ['ID', 'KIND', 'NAME', 'TEXT', 'END'])
  assert.deepEqual(titles(60), ['ID', 'KIND', 'TEXT', 'END'])
  assert.deepEqual(titles(30), ['ID', 'TEXT', 'END'])
})

test('ages are short', () => {
  assert.deepEqual([0, 9_000, 59_000, 120_000, 7_500_000, 400_000_000].map(ago), [
    '0.0s',
    '9.0s',
    '59s',
    '2m',
    '2h 5m',
    '5d',
  ])
})

test('the overview says who lives, who works, and what waits', async () => {
  const store = openMemoryStore({ clock: systemClock })
  const opened = await Promise.all(
    [3, 10].map((number) =>
      store.openConversation({
        roles: { a: 'orchestrator', b: `role-${number}` },
        agents: { a: 'orchestrator', b: `s2-worker-${number}` },
        lifetimeMs: 3_600_000,
      }),
    ),
  )
  const holder = sessionId(opened[0]?.id ?? '', 'b')
  const task = { priority: 'P2', role: null, deadline: null, createdBy: null } as const
  await store.addTask({ ...task, id: 'held', description: 'count\x1b[31m ducks', holder })
  await store.addTask({ ...task, id: 'free', description: 'nobody has it', holder: null })
  await store.leaseTask(holder, 'life')
  await store.openIncident({ cause: 'x', kind: 'silent', agent: 's2-worker-10', summary: 'it is silent' }, [])
  await store.judge([
    { agent: 'orchestrator', verdict: 'alive', since: 0, host: null },
    { agent: 's2-worker-10', verdict: 'silent', since: 0, host: null },
  ])
  const now = Date.now()
  const members = [{ agent: 's2-worker-10', role: 'role-10', state: 'frozen', programs: [] }] as const
  const overview: FleetOverview = await readOverview({ store, unserved: false }, now, members)
  assert.deepEqual(
    overview.agents.map(({ name, verdict }) => [name, verdict]),
    [
      ['orchestrator', 'alive'],
      ['s2-worker-3', 'unknown'],
      ['s2-worker-10', 'silent'],
    ],
  )
  const text = renderOverview(overview, 120, (_, words) => words).join('\n')
  assert.match(text, /^3 agents, 1 alive · 2 tasks open/)
  assert.match(text, /! it is silent/)
  assert.match(text, /1 task without an owner/)
  assert.match(text, /s2-worker-10 +role-10 +silent \(frozen\)/)
  assert.match(text, /s2-worker-3 .* held +count·\[31m ducks/)
})

/** A fleet of these verdicts, judged `agoMs` ago; null: nobody ever judged it. */
async function overviewOf(
  verdicts: readonly Omit<AgentVerdict, 'host'>[],
  agoMs: number | null,
  unserved = false,
): Promise<FleetOverview> {
  let wall = 1_800_000_000_000
  const store = openMemoryStore({ clock: { ...systemClock, wall: () => wall } })
  for (const { agent } of verdicts)
    await store.openConversation({
      roles: { a: 'orchestrator', b: 'any' },
      agents: { a: 'boss', b: agent },
      lifetimeMs: 1e9,
    })
  if (agoMs !== null) await store.judge(verdicts.map((each) => ({ ...each, host: 'h' })))
  wall += agoMs ?? 0
  return await readOverview({ store, unserved }, wall, null)
}

const shown = (overview: FleetOverview): string[] => renderOverview(overview, 240, (_, words) => words)

const ALIVE = [
  { agent: 'w1', verdict: 'alive', since: 0 },
  { agent: 'w2', verdict: 'alive', since: 0 },
] as const

test('a fleet that nobody watches is shown as it was thought of last, and is not well', async () => {
  const dead = await overviewOf(ALIVE, 7_200_000)
  assert.deepEqual([dead.watchdog, dead.isWell], ['away', false])
  assert.deepEqual(
    dead.agents.map(({ verdict, lastVerdict }) => [verdict, lastVerdict]),
    [
      ['unknown', null],
      ['unknown', 'alive'],
      ['unknown', 'alive'],
    ],
  )
  const [head, , , boss, first] = shown(dead)
  assert.match(
    head ?? '',
    /^3 agents, and nobody watches · .* · the watchdog was last heard 2h 0m ago: see s2 health watchdog$/,
  )
  assert.match(boss ?? '', /^boss .* unknown /)
  assert.match(first ?? '', /^w1 +any +alive \(2h 0m ago\) /)
  const never = await overviewOf(ALIVE, null)
  assert.deepEqual([never.watchdog, never.isWell], ['away', false])
  assert.match(shown(never)[0] ?? '', /^3 agents, and nobody watches · .* · no watchdog has looked yet$/)
})

test('where no bridge runs nobody is heard: verdicts of a moment ago are old', async () => {
  const dead = await overviewOf(ALIVE, 5_000, true)
  assert.deepEqual([dead.watchdog, dead.isWell, dead.isServed], ['away', false, false])
  const [head, , , , first] = shown(dead)
  assert.match(
    head ?? '',
    /^3 agents, and nobody watches · .* · no bridge runs here, so no agent is heard; the watchdog was last heard 5.0s ago: see s2 health$/,
  )
  assert.match(first ?? '', /^w1 +any +alive \(5.0s ago\) /)
})

test('a fleet is well when it is watched and nobody is lost', async () => {
  const well = await overviewOf(ALIVE, 100_000)
  assert.deepEqual([well.watchdog, well.isWell], ['watching', true])
  assert.match(shown(well)[0] ?? '', /^3 agents, 2 alive · /)
  for (const verdict of ['silent', 'gone'] as const) {
    assert.equal((await overviewOf([...ALIVE, { agent: 'w3', verdict, since: 0 }], 0)).isWell, false, verdict)
  }
  for (const verdict of ['late', 'new', 'sick', 'parked', 'stalled', 'waiting'] as const) {
    assert.equal((await overviewOf([...ALIVE, { agent: 'w3', verdict, since: 0 }], 0)).isWell, true, verdict)
  }
})

test('a verdict from a time that lies ahead is old: the clock was put back since', async () => {
  const overview = await overviewOf(ALIVE, -10_800_000)
  assert.deepEqual([overview.watchdog, overview.isWell], ['away', false])
  const [head, , , , first] = shown(overview)
  assert.match(
    head ?? '',
    /, and nobody watches · .* · the watchdog’s last verdicts are dated 3h 0m ahead of this clock, which was put back: see s2 health watchdog$/,
  )
  assert.match(first ?? '', /^w1 +any +alive \(dated 3h 0m ahead\) /)
})

test('a time that is over is not shown: it is parked until it tries again', async () => {
  const overview = await overviewOf(
    [{ agent: 'w1', verdict: 'parked', since: 0, why: 'usage limit', until: 1_799_999_940_000 }],
    0,
  )
  assert.match(shown(overview)[4] ?? '', /^w1 +any +parked +[^p]+parked: usage limit; due to try again /)
})

test('what a client does is shown in place of alive, and since when', async () => {
  const at = 1_800_000_000_000
  const client = (state: ClientActivityState, since: number) => ({ state, what: null, until: null, since })
  const shownAs = async (verdict: Verdict, state: ClientActivityState, why: string | null = null): Promise<string> => {
    const overview = await overviewOf(
      [{ agent: 'w1', verdict, since: at - 60_000, why, activity: client(state, at - 5_000) }],
      0,
    )
    assert.equal(overview.agents.find(({ name }) => name === 'w1')?.verdict, verdict, 'JSON keeps what it had')
    return (shown(overview).find((line) => line.startsWith('w1')) ?? '').replace(/ +/g, ' ')
  }
  assert.match(await shownAs('alive', 'working'), /^w1 any working 5\.0s /)
  assert.match(await shownAs('alive', 'idle'), /^w1 any idle 5\.0s /)
  assert.match(await shownAs('alive', 'overloaded'), /^w1 any overloaded, retrying 5\.0s /)
  assert.match(await shownAs('parked', 'logged_out', 'log in'), /^w1 any logged out 60s parked: log in /)
  assert.match(
    await shownAs('waiting', 'waiting', 'question: go on?'),
    /^w1 any waiting 60s waiting: question: go on\? /,
  )
  assert.match(await shownAs('alive', 'gone'), /^w1 any alive 60s /)
})

test('the header counts as alive who is heard, and says how many of those need a person', async () => {
  const at = 1_800_000_000_000
  const loggedOut = { state: 'logged_out', what: null, until: null, since: at } as const
  const overloaded = { ...loggedOut, state: 'overloaded' } as const
  const overview = await overviewOf(
    [
      { agent: 'w1', verdict: 'alive', since: at, activity: overloaded },
      { agent: 'w2', verdict: 'waiting', since: at },
      { agent: 'w3', verdict: 'parked', since: at },
      { agent: 'w4', verdict: 'sick', since: at },
      { agent: 'w5', verdict: 'stalled', since: at },
      { agent: 'w6', verdict: 'parked', since: at, activity: loggedOut },
      { agent: 'w7', verdict: 'late', since: at },
      { agent: 'w8', verdict: 'gone', since: at },
    ],
    0,
  )
  const of = (columns: number): string[] => renderOverview(overview, columns, (_, words) => words)
  const [agents, tasks] = ['9 agents, 6 alive (3 need a person)', '0 tasks open, 0 completed, 0 failed']
  assert.equal(of(80)[0], `${agents} · ${tasks}`)
  assert.deepEqual(of(60).slice(0, 2), [agents, tasks], 'what is too wide for the window goes on below')
  assert.ok(of(60).every((line) => widthOf(line) <= 60))
  const named = (isOf: (agent: FleetOverview['agents'][number]) => boolean): string[] =>
    overview.agents.filter(isOf).map(({ name }) => name)
  assert.deepEqual(
    named(({ isAlive }) => isAlive === true),
    ['w1', 'w2', 'w3', 'w4', 'w5', 'w6'],
  )
  assert.deepEqual(
    named(({ needsPerson }) => needsPerson),
    ['w2', 'w4', 'w6'],
  )
  assert.deepEqual(
    named(({ isAlive }) => isAlive === null),
    ['boss'],
    'nobody has judged it',
  )
  const one = await overviewOf([{ agent: 'w1', verdict: 'waiting', since: at }], 0)
  assert.match(shown(one)[0] ?? '', /^2 agents, 1 alive \(1 needs a person\) · /)
})

test('what explains a verdict is shown, and until when it holds', async () => {
  const until = new Date(1_800_000_000_000 + 3_600_000 - 19_000) // shown as the minute that ends then
  const two = (number: number): string => String(number).padStart(2, '0')
  const shownAs = new Date(1_800_000_000_000 + 3_600_000)
  const time = `${two(shownAs.getHours())}:${two(shownAs.getMinutes())}`
  const overview = await overviewOf(
    [
      { agent: 'w1', verdict: 'parked', since: 0, why: 'usage limit', until: until.getTime() },
      { agent: 'w2', verdict: 'sick', since: 0, why: 'folder /srv/x does not exist' },
      { agent: 'w3', verdict: 'parked', since: 0, until: until.getTime() + 172_800_000 },
    ],
    0,
  )
  const [, , , , w1, w2, w3] = shown(overview)
  assert.match(w1 ?? '', new RegExp(`^w1 +any +parked until ${time} .*parked: usage limit`))
  assert.match(w2 ?? '', /^w2 +any +sick .*sick: folder \/srv\/x does not exist/)
  assert.match(w3 ?? '', new RegExp(`^w3 +any +parked until \\d+ [A-Z][a-z]{2} ${time} `))
  assert.deepEqual(
    overview.agents.map(({ why, until: end }) => [why, end]),
    [
      [null, null],
      ['usage limit', until.getTime()],
      ['folder /srv/x does not exist', null],
      [null, until.getTime() + 172_800_000],
    ],
  )
})
