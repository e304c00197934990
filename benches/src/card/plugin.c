/* A sound card without hardware: an ALSA plugin that a program loads by itself, so that a test needs neither a driver, nor
 * a daemon, nor root. It moves samples between the program and two files at the pace of a clock.
 *
 * The card is a folder. Frame n of `microphone.raw` is heard, and frame n of `speakers.raw` is played, at frame n of the
 * card's clock; both files are in the card's own format. Files in the folder that make it fail, for as long as they exist:
 *
 *   unplugged   the card is not there: streams end as those of a USB card that was pulled, opening fails
 *   stalled     no sample moves
 *   hang_open   opening does not return
 *   hang_close  closing does not return
 *
 * `clock` has CLOCK_MONOTONIC of frame 0 in nanoseconds. The first stream to start writes it, unless it is there already.
 * `log` has a line for each stream that starts, stops or is too late.
 *
 * Options: dir; rate, channels, format (all that the card can do); period in frames, 0 for 32 to 8192; ppm, by how much the
 * clock is too fast; slack_ms, by how much a program may be late before it is an xrun. */
#define _GNU_SOURCE
#include <alsa/asoundlib.h>
#include <alsa/pcm_external.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
#define LONGEST_PERIOD 8192
#define SHORTEST_PERIOD 32

typedef struct {
	snd_pcm_ioplug_t plug;
	int dir;                 /* the card's folder */
	int samples;             /* microphone.raw or speakers.raw */
	long rate, channels, period, ppm, slack_ms;
	snd_pcm_format_t format;
	int64_t zero;            /* CLOCK_MONOTONIC of frame 0 */
	int64_t moved;           /* first frame of the clock that was not moved yet */
	snd_pcm_uframes_t place; /* of that frame in the ring, below `boundary` */
	snd_pcm_uframes_t boundary, avail_min, stop_threshold;
} card_t;

static int64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * NS_PER_S + time.tv_nsec;
}

static bool has(const card_t *card, const char *file)
{
	return faccessat(card->dir, file, F_OK, 0) == 0;
}

static bool captures(const card_t *card)
{
	return card->plug.stream == SND_PCM_STREAM_CAPTURE;
}

static bool moves(const card_t *card)
{
	return card->plug.state == SND_PCM_STATE_RUNNING || card->plug.state == SND_PCM_STATE_DRAINING;
}

/* Frames a nanosecond by the card's own clock. */
static double pace(const card_t *card)
{
	return card->rate * (1.0 + card->ppm / 1e6) / NS_PER_S;
}

/* The frame of the clock that is due at a time, and the time at which a frame is due. */
static int64_t frame_at(const card_t *card, int64_t time)
{
	return (int64_t)((time - card->zero) * pace(card));
}

static int64_t time_of(const card_t *card, int64_t frame)
{
	return card->zero + (int64_t)(frame / pace(card)) + 1;
}

/* A full disk must not stop a card: what cannot be logged is not. */
static void note(const card_t *card, const char *what)
{
	char line[160];
	int length = snprintf(line, sizeof line, "%s %s frame=%" PRId64 " format=%s rate=%u channels=%u period=%lu\n",
		captures(card) ? "microphone" : "speakers", what, card->moved, snd_pcm_format_name(card->plug.format),
		card->plug.rate, card->plug.channels, card->plug.period_size);
	int file = openat(card->dir, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (file >= 0) {
		if (write(file, line, length) < 0)
			errno = 0;
		close(file);
	}
}

/* Has the program's poll return at this time; at once if it has passed. */
static void wake_at(const card_t *card, int64_t time)
{
	struct itimerspec at = { .it_value = { time / NS_PER_S, time % NS_PER_S } };
	timerfd_settime(card->plug.poll_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

/* Both sides and all openings of a card have one clock. It appears with its value in it, by way of a link, for another
 * stream may start at the same moment. */
static int start_clock(card_t *card)
{
	char text[32] = "", part[32];
	snprintf(part, sizeof part, "clock.%d.%d", getpid(), captures(card));
	int file = openat(card->dir, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int length = snprintf(text, sizeof text, "%" PRId64 "\n", now());
	bool written = file >= 0 && write(file, text, length) == length;
	if (file >= 0)
		close(file);
	if (written)
		linkat(card->dir, part, card->dir, "clock", 0); /* fails where there is one, which is then the card's */
	unlinkat(card->dir, part, 0);
	file = openat(card->dir, "clock", O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return -EIO;
	ssize_t got = read(file, text, sizeof text - 1);
	close(file);
	if (got <= 0)
		return -EIO;
	text[got] = 0;
	card->zero = strtoll(text, NULL, 10);
	return 0;
}

/* Moves frames between the program's ring and the file. Past the file's end the microphone hears silence. */
static void move(card_t *card, snd_pcm_uframes_t frames)
{
	const snd_pcm_channel_area_t *area = snd_pcm_ioplug_mmap_areas(&card->plug);
	size_t frame = snd_pcm_format_physical_width(card->format) / 8 * card->channels;
	while (area && frames > 0) {
		snd_pcm_uframes_t from = card->place % card->plug.buffer_size;
		snd_pcm_uframes_t piece = card->plug.buffer_size - from;
		if (piece > frames)
			piece = frames;
		char *ring = (char *)area->addr + from * frame;
		off_t place = (off_t)card->moved * frame;
		if (captures(card)) {
			ssize_t got = pread(card->samples, ring, piece * frame, place);
			snd_pcm_uframes_t whole = got > 0 ? got / frame : 0;
			snd_pcm_format_set_silence(card->format, ring + whole * frame, (piece - whole) * card->channels);
		} else if (pwrite(card->samples, ring, piece * frame, place) < 0) {
			note(card, "cannot be written");
		}
		card->place = (card->place + piece) % card->boundary;
		card->moved += piece;
		frames -= piece;
	}
}

/* Moves what is due, and says where the card is. */
static snd_pcm_sframes_t on_pointer(snd_pcm_ioplug_t *plug)
{
	card_t *card = plug->private_data;
	if (!moves(card) || has(card, "stalled"))
		return card->place;
	int64_t due = frame_at(card, now()) - card->moved;
	if (due <= 0)
		return card->place;
	int64_t possible = snd_pcm_ioplug_hw_avail(plug, card->place, plug->appl_ptr);
	move(card, due < possible ? due : possible);
	int64_t late_ns = (int64_t)((due - possible) / pace(card));
	if (due < possible || (late_ns <= card->slack_ms * NS_PER_MS && card->slack_ms > 0))
		return card->place; /* a program with slack is waited for, and makes up for it */
	if (plug->state == SND_PCM_STATE_DRAINING || card->stop_threshold >= card->boundary)
		return card->place;
	note(card, "xrun");
	return -EPIPE;
}

static int on_prepare(snd_pcm_ioplug_t *plug)
{
	card_t *card = plug->private_data;
	card->place = 0;
	wake_at(card, 1);
	return has(card, "unplugged") ? -ENODEV : 0;
}

static int on_start(snd_pcm_ioplug_t *plug)
{
	card_t *card = plug->private_data;
	int error = has(card, "unplugged") ? -ENODEV : start_clock(card);
	if (error < 0)
		return error;
	card->moved = frame_at(card, now());
	note(card, "start");
	wake_at(card, 1);
	return 0;
}

static int on_stop(snd_pcm_ioplug_t *plug)
{
	card_t *card = plug->private_data;
	note(card, "stop");
	wake_at(card, 1);
	return 0;
}

static int on_sw_params(snd_pcm_ioplug_t *plug, snd_pcm_sw_params_t *params)
{
	card_t *card = plug->private_data;
	snd_pcm_sw_params_get_avail_min(params, &card->avail_min);
	snd_pcm_sw_params_get_boundary(params, &card->boundary);
	snd_pcm_sw_params_get_stop_threshold(params, &card->stop_threshold);
	return 0;
}

/* Ready means, as with hardware, that `avail_min` frames can be moved. While they can the timer stays expired; else it is
 * set to when they will. A card that does not move is looked at each millisecond. */
static int on_poll(snd_pcm_ioplug_t *plug, struct pollfd *fds, unsigned int count, unsigned short *revents)
{
	card_t *card = plug->private_data;
	unsigned short ready = captures(card) ? POLLIN : POLLOUT;
	(void)fds, (void)count;
	*revents = 0;
	if (has(card, "unplugged")) {
		*revents = POLLERR | POLLNVAL;
		return 0;
	}
	snd_pcm_sframes_t there = snd_pcm_avail_update(plug->pcm);
	if (there < 0) {
		*revents = ready | POLLERR;
	} else if ((snd_pcm_uframes_t)there >= card->avail_min) {
		*revents = ready;
	} else {
		int64_t soon = now() + NS_PER_MS;
		int64_t due = moves(card) ? time_of(card, card->moved + card->avail_min - there) : 0;
		wake_at(card, due > soon - NS_PER_MS ? due : soon);
	}
	return 0;
}

static void drop(card_t *card)
{
	if (card->plug.poll_fd >= 0)
		close(card->plug.poll_fd);
	if (card->samples >= 0)
		close(card->samples);
	if (card->dir >= 0)
		close(card->dir);
	free(card);
}

static int on_close(snd_pcm_ioplug_t *plug)
{
	card_t *card = plug->private_data;
	while (has(card, "hang_close"))
		usleep(10000);
	drop(card);
	return 0;
}

static const snd_pcm_ioplug_callback_t callbacks = {
	.pointer = on_pointer,
	.prepare = on_prepare,
	.start = on_start,
	.stop = on_stop,
	.sw_params = on_sw_params,
	.poll_revents = on_poll,
	.close = on_close,
};

static int read_option(card_t *card, snd_config_t *option)
{
	const char *name = "", *text = NULL;
	struct { const char *name; long *value; } numbers[] = {
		{ "rate", &card->rate }, { "channels", &card->channels }, { "period", &card->period },
		{ "ppm", &card->ppm }, { "slack_ms", &card->slack_ms },
	};
	snd_config_get_id(option, &name);
	if (!strcmp(name, "type") || !strcmp(name, "hint"))
		return 0;
	for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++)
		if (!strcmp(name, numbers[n].name))
			return snd_config_get_integer(option, numbers[n].value);
	if (snd_config_get_string(option, &text) < 0)
		return -EINVAL;
	if (!strcmp(name, "format"))
		return (card->format = snd_pcm_format_value(text)) == SND_PCM_FORMAT_UNKNOWN ? -EINVAL : 0;
	if (strcmp(name, "dir"))
		return -EINVAL;
	card->dir = open(text, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return card->dir < 0 ? -ENODEV : 0;
}

static int limit(card_t *card)
{
	unsigned int layouts[] = { SND_PCM_ACCESS_RW_INTERLEAVED, SND_PCM_ACCESS_MMAP_INTERLEAVED };
	unsigned int format = card->format;
	unsigned int frame = snd_pcm_format_physical_width(card->format) / 8 * card->channels;
	unsigned int least = card->period ? card->period : SHORTEST_PERIOD;
	unsigned int most = card->period ? card->period : LONGEST_PERIOD;
	struct { int what; unsigned int least, most; } ranges[] = {
		{ SND_PCM_IOPLUG_HW_CHANNELS, card->channels, card->channels },
		{ SND_PCM_IOPLUG_HW_RATE, card->rate, card->rate },
		{ SND_PCM_IOPLUG_HW_PERIOD_BYTES, least * frame, most * frame },
		{ SND_PCM_IOPLUG_HW_PERIODS, 2, 64 },
		{ SND_PCM_IOPLUG_HW_BUFFER_BYTES, 2 * least * frame, 8 * most * frame },
	};
	int error = snd_pcm_ioplug_set_param_list(&card->plug, SND_PCM_IOPLUG_HW_ACCESS, 2, layouts);
	if (error >= 0)
		error = snd_pcm_ioplug_set_param_list(&card->plug, SND_PCM_IOPLUG_HW_FORMAT, 1, &format);
	for (size_t n = 0; error >= 0 && n < sizeof ranges / sizeof *ranges; n++)
		error = snd_pcm_ioplug_set_param_minmax(&card->plug, ranges[n].what, ranges[n].least, ranges[n].most);
	return error;
}

static int attach(card_t *card, snd_config_t *options, snd_pcm_stream_t stream)
{
	snd_config_iterator_t at, next;
	snd_config_for_each(at, next, options) {
		int error = read_option(card, snd_config_iterator_entry(at));
		if (error < 0)
			return error;
	}
	if (card->dir < 0)
		return -EINVAL;
	while (has(card, "hang_open"))
		usleep(10000);
	if (has(card, "unplugged"))
		return -ENODEV;
	bool capture = stream == SND_PCM_STREAM_CAPTURE;
	card->samples = openat(card->dir, capture ? "microphone.raw" : "speakers.raw",
		(capture ? O_RDONLY : O_WRONLY) | O_CREAT | O_CLOEXEC, 0644);
	card->plug.poll_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	return card->samples < 0 || card->plug.poll_fd < 0 ? -errno : 0;
}

SND_PCM_PLUGIN_DEFINE_FUNC(confabcard)
{
	(void)root;
	card_t *card = calloc(1, sizeof *card);
	if (!card)
		return -ENOMEM;
	*card = (card_t){ .dir = -1, .samples = -1, .rate = 48000, .channels = 2, .format = SND_PCM_FORMAT_FLOAT_LE };
	card->plug = (snd_pcm_ioplug_t){
		.version = SND_PCM_IOPLUG_VERSION, .name = "a card without hardware", .callback = &callbacks, .private_data = card,
		.flags = SND_PCM_IOPLUG_FLAG_MONOTONIC | SND_PCM_IOPLUG_FLAG_BOUNDARY_WA,
		.mmap_rw = 1, .poll_fd = -1, .poll_events = POLLIN,
	};
	int error = attach(card, conf, stream);
	if (error >= 0)
		error = snd_pcm_ioplug_create(&card->plug, name, stream, mode);
	if (error < 0) {
		drop(card);
		return error;
	}
	error = limit(card);
	if (error < 0) {
		snd_pcm_ioplug_delete(&card->plug); /* closes it */
		return error;
	}
	*pcmp = card->plug.pcm;
	return 0;
}

SND_PCM_PLUGIN_SYMBOL(confabcard);
