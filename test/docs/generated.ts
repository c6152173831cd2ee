/** The parts of the documents that are written from the code, so that they cannot say anything else than the code. */
import { globSync, readFileSync } from 'node:fs'
import { components } from '../../deploy/bill-of-materials.ts'
import { BRIDGE_FRAMES, HOST_FRAMES } from '../../services/core/store/remote/frames.ts'
import { STREAMS, VERBS } from '../../services/core/store/remote/wire-schema.ts'
import type { Verb } from '../../services/core/store/remote/wire-verb.ts'
import { run } from '../cli/run-command.ts'

/** One generated part: it stands in its file between `<!-- NAME: … -->` and `<!-- /NAME -->`. */
export interface GeneratedPart {
  readonly file: string
  readonly name: string
  readonly text: string
}

export async function generatedParts(): Promise<readonly GeneratedPart[]> {
  return [
    { file: 'docs/settings.md', name: 'settings', text: await outputOf('config', '--markdown') },
    { file: 'docs/protocol.md', name: 'verbs', text: verbTable() },
    { file: 'docs/protocol.md', name: 'streams', text: fieldTable('stream', STREAMS) },
    { file: 'docs/protocol.md', name: 'host frames', text: fieldTable('frame', HOST_FRAMES) },
    { file: 'docs/protocol.md', name: 'bridge frames', text: fieldTable('frame', BRIDGE_FRAMES) },
    { file: 'docs/licences.md', name: 'packages', text: licenceTable() },
    { file: 'docs/architecture.md', name: 'rooms', text: roomPicture() },
    { file: 'docs/architecture.md', name: 'programs', text: programTable() },
  ]
}

/** The text with the part as the code has it. Throws where the marks are missing. */
export function withPart(text: string, { file, name, text: part }: GeneratedPart): string {
  const open = new RegExp(`(<!-- ${name}:[^\n]*-->\n)`).exec(text)
  const close = text.indexOf(`<!-- /${name} -->`)
  if (open === null || close < open.index) throw new Error(`${file} has lost the marks of the part "${name}"`)
  return `${text.slice(0, open.index)}${open[1]}${part}${text.slice(close)}`
}

/** What a command prints. Throws when it fails. */
async function outputOf(...argv: string[]): Promise<string> {
  const { code, out, err } = await run(argv)
  if (code !== 0) throw new Error(`s2 ${argv.join(' ')} ended with ${code}: ${err}`)
  return out
}

// --- the licences ---

function licenceTable(): string {
  const rows = components('package-lock.json').map(
    ({ name, version, licence }) => `| ${name} | ${version} | ${licence} |`,
  )
  return ['| package | version | licence |', '|---|---|---|', ...rows, ''].join('\n')
}

// --- the protocol ---

interface Shape {
  readonly properties?: Readonly<Record<string, unknown>>
  readonly required?: readonly string[]
  readonly items?: unknown
}

/** The fields of an object, those that may be left out with a question mark: `from, ids [], draft {text, action?}`. */
function fieldsOf(schema: unknown): string {
  const { properties = {}, required = [] } = schema as Shape
  return Object.entries(properties)
    .filter(([name]) => name !== 't')
    .map(([name, inner]) => `${name}${required.includes(name) ? '' : '?'}${innerFieldsOf(inner as Shape)}`)
    .join(', ')
}

function innerFieldsOf(schema: Shape): string {
  const fields = fieldsOf(schema.items ?? schema)
  const within = fields === '' ? '' : `{${fields}}`
  if (schema.items !== undefined) return ` [${within}]`
  return within === '' ? '' : ` ${within}`
}

function verbTable(): string {
  const rows = Object.entries(VERBS as Readonly<Record<string, Verb>>).map(([name, { who, effect, input }]) => {
    const fields = fieldsOf(input)
    return `| \`${name}\` | ${who} | ${effect} | ${fields === '' ? '' : `\`${fields}\``} |`
  })
  return lines('| verb | who may call | when its answer was lost | takes |', '|---|---|---|---|', ...rows)
}

function fieldTable(title: string, schemas: Readonly<Record<string, unknown>>): string {
  const rows = Object.entries(schemas).map(([name, schema]) => {
    const fields = fieldsOf((schema as { readonly input?: unknown }).input ?? schema)
    return `| \`${name}\` | ${fields === '' ? '' : `\`${fields}\``} |`
  })
  return lines(`| ${title} | fields |`, '|---|---|', ...rows)
}

// --- the rooms ---

const ROOM_OF_ALIAS = /(?:from|import)\s*\(?\s*'#(\w+)\//g

type Rooms = ReadonlyMap<string, ReadonlySet<string>>

/** Each room or program, and the rooms of core that its files import. */
function importsByRoom(): Rooms {
  const rooms = new Map<string, Set<string>>()
  for (const path of globSync('services/**/*.ts').sort()) {
    const [, first = '', second = ''] = path.split('/')
    const room = first === 'core' ? `core/${second}` : first
    const targets = rooms.get(room) ?? new Set<string>()
    for (const [, alias] of readFileSync(path, 'utf8').matchAll(ROOM_OF_ALIAS)) targets.add(`core/${alias}`)
    targets.delete(room)
    rooms.set(room, targets)
  }
  return rooms
}

/** Rooms of core that others import and that a third one does not lead to anyway: the picture without its short cuts. */
function directEdges(rooms: Rooms, room: string): string[] {
  const targets = [...(rooms.get(room) ?? [])].sort()
  const reaches = (from: string, to: string): boolean =>
    [...(rooms.get(from) ?? [])].some((next) => next === to || reaches(next, to))
  return targets.filter((target) => !targets.some((other) => other !== target && reaches(other, target)))
}

function roomPicture(): string {
  const rooms = importsByRoom()
  const inCore = [...rooms.keys()].filter((room) => room.startsWith('core/')).sort()
  const programs = [...rooms.keys()].filter((room) => !room.startsWith('core/')).sort()
  const node = (room: string): string => room.replaceAll(/\W/g, '_')
  return lines(
    '```mermaid',
    'graph TD',
    '  subgraph programs',
    ...programs.map((room) => `    ${node(room)}["${room}"]`),
    '  end',
    '  subgraph core',
    ...inCore.map((room) => `    ${node(room)}["${room}"]`),
    '  end',
    ...[...programs, ...inCore].flatMap((room) =>
      directEdges(rooms, room).map((target) => `  ${node(room)} --> ${node(target)}`),
    ),
    '```',
  )
}

function programTable(): string {
  const rooms = importsByRoom()
  const names = [...new Set([...rooms.values()].flatMap((targets) => [...targets]))].sort()
  const rows = [...rooms]
    .sort(([a], [b]) => Number(a.startsWith('core/')) - Number(b.startsWith('core/')) || (a < b ? -1 : 1))
    .map(
      ([room, targets]) =>
        `| \`services/${room}/\` | ${names.map((name) => (targets.has(name) ? 'yes' : '')).join(' | ')} |`,
    )
  return lines(`| … imports | ${names.join(' | ')} |`, `|---|${'---|'.repeat(names.length)}`, ...rows)
}

function lines(...all: string[]): string {
  return `${all.join('\n')}\n`
}
