import type { Reservation } from '#fleet/reservation.ts'
import { inputOf, listIn, numberIn, SPEAKER_FIELDS, speakerIn, type Tool, textIn } from './tool.ts'
import type { FieldSchema } from './tool-input.ts'

const PATHS: FieldSchema = {
  type: 'array',
  minItems: 1,
  maxItems: 50,
  items: { type: 'string', minLength: 1, maxLength: 500 },
  description:
    'Paths or globs, for example src/store/ or docs/*.md: from the folder that you were started in, or absolute. At /mcp of a bridge they begin at the top of the repository.',
}
const REPOSITORY: FieldSchema = {
  type: 'string',
  maxLength: 200,
  description: 'Leave out: git says what the repository is called that you work in.',
}

export const FILE_TOOLS: readonly Tool[] = [
  {
    name: 'reserve_files',
    title: 'Reserve files',
    description:
      'Reserves files before you edit them, so that no other agent does at the same time: all that you name, or none. Where another has them, ' +
      'the answer says who, and until when. Asking again makes it longer.',
    inputSchema: inputOf(
      {
        paths: PATHS,
        shared: { type: 'boolean', description: 'Others may reserve them as shared too, and nobody alone.' },
        minutes: { type: 'integer', minimum: 1, maximum: 10_080, description: 'How long; two hours where left out.' },
        task_id: { type: 'string', maxLength: 64, description: 'The task that it is for: it ends with that.' },
        note: { type: 'string', maxLength: 200, description: 'What you do there.' },
        repository: REPOSITORY,
        ...SPEAKER_FIELDS,
      },
      ['paths'],
    ),
    effect: 'adds',
    isRepeatable: true,
    async call(member, input) {
      const minutes = numberIn(input, 'minutes')
      const reserved = await member.reserve(speakerIn(input), {
        globs: listIn<string>(input, 'paths'),
        mode: input.shared === true ? 'shared' : 'exclusive',
        forMs: minutes === null ? null : minutes * 60_000,
        task: textIn(input, 'task_id'),
        note: textIn(input, 'note'),
        repository: textIn(input, 'repository'),
      })
      return { reserved: reserved.map(shown) }
    },
  },
  {
    name: 'release_files',
    title: 'Release files',
    description: 'Ends your reservations of files: those that you name, or all of the repository.',
    inputSchema: inputOf({ paths: PATHS, repository: REPOSITORY, ...SPEAKER_FIELDS }),
    effect: 'ends',
    isRepeatable: true,
    async call(member, input) {
      const paths = listIn<string>(input, 'paths')
      const which = { globs: paths.length === 0 ? null : paths, repository: textIn(input, 'repository') }
      return { released: (await member.release(speakerIn(input), which)).map(shown) }
    },
  },
]

function shown({ repository, glob, mode, task, until }: Reservation): object {
  return {
    path: glob,
    repository: repository[0],
    mode,
    ...(task === null ? {} : { task_id: task }),
    until: new Date(until).toISOString(),
  }
}
