"""The items of the category task: words with their class, in English and Chinese.

Three lists that share no word. EXAMPLES stand in front of every prompt. CHOOSING helped to choose
the task, so nothing is measured on them. MEASURED are what models are measured on. As Python and
not as a data file, so that a changed word makes outdated what was made from it.
"""

from __future__ import annotations

from typing import NamedTuple

CLASSES = {
    "animal": "动物",
    "fruit": "水果",
    "color": "颜色",
    "country": "国家",
    "vehicle": "交通工具",
    "clothing": "衣服",
    "body part": "身体部位",
}
"""The classes: the English name, which is also the class's id, and the Chinese one."""


class Item(NamedTuple):
    """A word in both languages; category: one of CLASSES."""

    category: str
    en: str
    zh: str


# The first seven show every class. The second seven are in another order, so that no class follows
# from the one before.
EXAMPLES = (
    Item("animal", "dog", "狗"),
    Item("fruit", "apple", "苹果"),
    Item("color", "red", "红色"),
    Item("country", "France", "法国"),
    Item("vehicle", "car", "汽车"),
    Item("clothing", "shirt", "衬衫"),
    Item("body part", "hand", "手"),
    Item("vehicle", "bus", "公交车"),
    Item("color", "blue", "蓝色"),
    Item("animal", "cat", "猫"),
    Item("body part", "foot", "脚"),
    Item("country", "Japan", "日本"),
    Item("fruit", "banana", "香蕉"),
    Item("clothing", "coat", "外套"),
)


def _items(words: dict[str, str]) -> tuple[Item, ...]:
    """Of lists of "English/Chinese", by class."""
    return tuple(
        Item(category, *pair.strip().split("/"))
        for category, listed in words.items()
        for pair in listed.split(",")
    )


CHOOSING = _items(
    {
        "animal": "horse/马, cow/牛, sheep/羊, tiger/老虎, lion/狮子, rabbit/兔子, monkey/猴子, "
        "elephant/大象, pig/猪, wolf/狼",
        "fruit": "orange/橙子, pear/梨, grape/葡萄, peach/桃子, mango/芒果, lemon/柠檬, "
        "strawberry/草莓, watermelon/西瓜, cherry/樱桃, pineapple/菠萝",
        "color": "green/绿色, yellow/黄色, black/黑色, white/白色, purple/紫色, pink/粉色, "
        "brown/棕色, gray/灰色",
        "country": "Germany/德国, Italy/意大利, Brazil/巴西, Canada/加拿大, Egypt/埃及, "
        "India/印度, Russia/俄罗斯, Spain/西班牙, Mexico/墨西哥, Thailand/泰国",
        "vehicle": "train/火车, bicycle/自行车, truck/卡车, airplane/飞机, ship/轮船, "
        "motorcycle/摩托车, subway/地铁, taxi/出租车",
        "clothing": "hat/帽子, shoes/鞋子, skirt/裙子, socks/袜子, pants/裤子, jacket/夹克",
        "body part": "head/头, nose/鼻子, ear/耳朵, eye/眼睛, mouth/嘴, leg/腿, arm/胳膊, "
        "finger/手指",
    }
)

MEASURED = _items(
    {
        "animal": "bear/熊, fox/狐狸, deer/鹿, camel/骆驼, giraffe/长颈鹿, zebra/斑马, panda/熊猫, "
        "goat/山羊, donkey/驴, squirrel/松鼠, hedgehog/刺猬, kangaroo/袋鼠, leopard/豹子, "
        "dolphin/海豚, frog/青蛙, crocodile/鳄鱼",
        "fruit": "plum/李子, papaya/木瓜, lychee/荔枝, apricot/杏子, blueberry/蓝莓, "
        "raspberry/树莓, pomegranate/石榴, coconut/椰子, fig/无花果, durian/榴莲, tangerine/橘子, "
        "pomelo/柚子, persimmon/柿子, blackberry/黑莓, mulberry/桑葚, nectarine/油桃",
        "color": "cyan/青色, beige/米色, crimson/深红色, scarlet/猩红色, indigo/靛蓝色, "
        "maroon/栗色, magenta/品红色, khaki/卡其色, turquoise/绿松石色, burgundy/酒红色, "
        "azure/蔚蓝色, lilac/淡紫色, navy blue/藏青色, sky blue/天蓝色, light green/浅绿色, "
        "dark gray/深灰色",
        "country": "Australia/澳大利亚, Argentina/阿根廷, Chile/智利, Peru/秘鲁, Cuba/古巴, "
        "Norway/挪威, Sweden/瑞典, Finland/芬兰, Denmark/丹麦, Poland/波兰, Portugal/葡萄牙, "
        "Greece/希腊, Vietnam/越南, Kenya/肯尼亚, Switzerland/瑞士, Ukraine/乌克兰",
        "vehicle": "van/面包车, tram/有轨电车, ambulance/救护车, helicopter/直升机, boat/小船, "
        "ferry/渡轮, yacht/游艇, submarine/潜水艇, tractor/拖拉机, jeep/吉普车, canoe/独木舟, "
        "sailboat/帆船, tricycle/三轮车, speedboat/快艇, carriage/马车, police car/警车",
        "clothing": "dress/连衣裙, sweater/毛衣, scarf/围巾, gloves/手套, jeans/牛仔裤, "
        "shorts/短裤, suit/西装, vest/背心, pajamas/睡衣, underwear/内衣, boots/靴子, "
        "overcoat/大衣, raincoat/雨衣, swimsuit/泳衣, uniform/制服, sandals/凉鞋",
        "body part": "knee/膝盖, elbow/胳膊肘, shoulder/肩膀, neck/脖子, tongue/舌头, tooth/牙齿, "
        "lip/嘴唇, chin/下巴, forehead/额头, eyebrow/眉毛, cheek/脸颊, wrist/手腕, ankle/脚踝, "
        "thumb/大拇指, toe/脚趾, throat/喉咙",
    }
)
